"""The capture state machine in a simulated world: what each trouble is called, and that it passes."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from edge.capture.evidence import BROKEN, REFRESH_NS, Layout, Link, Look, S
from edge.capture.signal import TABLE, Act
from edge.types import SignalState
from tests.support.signal_world import BACK_NS, live

PLACEHOLDERS = (Look.BLACK, Look.BARS, Look.FLAT)


# --------------------------------------------------------------------------------------------- the table


def test_every_state_but_the_files_own_has_one_row_that_people_can_read() -> None:
    rows = Counter(row.state for row in TABLE)
    assert rows == Counter(state for state in SignalState if state is not SignalState.ENDED)
    assert all(row.means and row.seen_by for row in TABLE)
    assert all(row.recovery for row in TABLE if row.state is not SignalState.LIVE)
    assert TABLE[-1].state is SignalState.LIVE


TROUBLE = {
    SignalState.DEVICE_GONE: {"link": Link.GONE},
    SignalState.NO_SIGNAL: {"link": Link.NO_SIGNAL},
    SignalState.UNSTABLE: {"link": Link.UNLOCKED},
    SignalState.UNSUPPORTED: {"link": Link.OUT_OF_RANGE},
    SignalState.PROTECTED_SUSPECT: {"link": Link.PROTECTED},
    SignalState.FORMAT_CHANGED: {"changed": "1080p60 became 720p60"},
    SignalState.BLACK: {"content": Look.BLACK},
    SignalState.BARS: {"content": Look.BARS},
    SignalState.FROZEN: {"content": Look.REPEATED},
    SignalState.UNKNOWN_LAYOUT: {"layout": Layout.UNKNOWN},
    SignalState.STARTING: {"layout": Layout.SEARCHING},
}


@pytest.mark.parametrize("state", TROUBLE, ids=lambda state: state.value)
def test_each_trouble_is_its_state_and_passes(state: SignalState) -> None:
    world = live()
    for key, value in TROUBLE[state].items():
        setattr(world, key, value)
    assert state in world.run(1.0)
    world.good()
    world.until_live(BACK_NS)


@pytest.mark.parametrize("link", [*BROKEN, Link.PROTECTED], ids=lambda link: link.value)
def test_what_a_driver_reports_is_a_state_at_the_very_next_step(link: Link) -> None:
    world = live()
    world.link = link
    verdict = world.step()
    assert verdict.changed
    assert verdict.state is not SignalState.LIVE
    assert verdict.act is (Act.STOP if link in BROKEN else Act.NONE)


@pytest.mark.parametrize("link", sorted(BROKEN), ids=lambda link: link.value)
def test_the_drivers_word_is_said_after_a_loss_that_it_had_not_noticed(link: Link) -> None:
    told = live()
    told.link = link
    told.step()
    late = live()
    late.content = None
    late.run(1.2)
    assert late.state is SignalState.NO_SIGNAL
    late.link = link
    late.step()
    assert late.signal.detail == told.signal.detail


def test_one_colour_is_suspicious_after_three_seconds_only() -> None:
    world = live()
    world.content = Look.FLAT
    assert world.run(2.8) == []
    assert world.run(0.4) == [SignalState.PROTECTED_SUSPECT]
    assert len(world.builds) == 1
    world.good()
    world.until_live(BACK_NS)


@pytest.mark.parametrize(
    ("nominal", "rate", "says"),
    [(25.0, 50.0, "the format says 25"), (0.0, 240.0, "130 is the most"), (25.0, 30.0, ""), (0.0, 120.0, "")],
)
def test_too_many_pictures_are_unsupported(nominal: float, rate: float, says: str) -> None:
    world = live(nominal=nominal)
    world.rate = rate
    begun = world.run(1.2)
    assert begun == ([SignalState.UNSUPPORTED] if says else [])
    assert says in world.signal.detail
    world.good()
    world.until_live(BACK_NS)


@pytest.mark.parametrize("nominal", [0.0, 25.0, 1.0])
def test_a_silent_loss_is_seen_within_a_second_or_three_frame_times(nominal: float) -> None:
    world = live(knows=False, nominal=nominal, rate=0.0)
    world.content = None
    within_s = max(1.0, 3 / nominal if nominal else 0.0)
    assert world.run(within_s - 0.1) == []
    assert world.run(0.2) == [SignalState.NO_SIGNAL]


def test_a_pipeline_that_breaks_is_no_live_picture() -> None:
    world = live()
    world.error = "v4l2src: broken"
    verdict = world.step()
    assert verdict.state is SignalState.STARTING
    assert verdict.detail == "begins again after: v4l2src: broken"
    world.until_live(BACK_NS)


@pytest.mark.parametrize("content", PLACEHOLDERS)
def test_nothing_that_a_broken_pipeline_showed_is_still_said(content: Look) -> None:
    world = live()
    world.content = content
    world.run(4)
    world.builds_work, world.running, world.error = False, False, "it broke"
    world.run(1.5)
    assert world.state is SignalState.STARTING


# --------------------------------------------------------------------------------------- content of the feed


@pytest.mark.parametrize("repeats", [2, 3])
def test_slow_content_in_a_fast_feed_is_live_and_never_frozen(repeats: int) -> None:
    """25 film pictures in 50 fields: every second one is a repeat, and none of those is handed out."""
    world = live(step_ns=S // 50, repeats=repeats, nominal=50.0, rate=50.0)
    before = len(world.history)
    assert world.run(20) == []
    looked = [seen.look for _, verdict, seen in world.history[before:] if verdict.usable]
    assert abs(len(looked) - 1000 / repeats) <= 1
    assert set(looked) == {Look.MOVING}
    assert len(world.builds) == 1


def test_a_stale_picture_is_none() -> None:
    world = live(knows=False)
    world.content = Look.STALE
    assert world.run(1.2) == [SignalState.NO_SIGNAL]
    world.run(10)
    assert world.state in (SignalState.NO_SIGNAL, SignalState.FAILED)


@pytest.mark.parametrize("state", [row.state for row in TABLE if row.hold_ns], ids=lambda state: state.value)
def test_a_hold_delays_live_and_nothing_else(state: SignalState) -> None:
    hold_ns = next(row.hold_ns for row in TABLE if row.state is state)
    world = live()
    for key, value in TROUBLE[state].items():
        setattr(world, key, value)
    while world.state is not state:
        world.step()
    begun_ns = world.now_ns
    world.good()
    assert world.until_live(BACK_NS)
    assert world.now_ns - begun_ns >= hold_ns

    for key, value in TROUBLE[state].items():
        setattr(world, key, value)
    while world.state is not state:
        world.step()
    world.link = Link.GONE
    assert world.step().state is SignalState.DEVICE_GONE


def test_a_format_that_changed_to_a_frozen_or_black_one_does_not_stay_a_change() -> None:
    for content, state in ((Look.REPEATED, SignalState.FROZEN), (Look.BLACK, SignalState.BLACK)):
        world = live()
        world.changed, world.content = "1080p60 became 720p60", content
        assert world.step().act is Act.BUILD
        world.run(1.5)
        assert world.state is state


def test_every_change_is_said_once() -> None:
    world = live()
    for _, trouble in sorted(TROUBLE.items()):
        for key, value in trouble.items():
            setattr(world, key, value)
        world.run(2)
        world.good()
        world.run(2)
    previous = SignalState.STARTING
    for _, verdict, _ in world.history:
        assert verdict.changed is (verdict.state is not previous)
        previous = verdict.state


# -------------------------------------------------------------------------------------------- frozen


def test_a_frozen_picture_gets_new_pipelines_less_and_less_often_and_stays_frozen() -> None:
    world = live()
    world.content = Look.REPEATED
    world.run(1)
    assert world.state is SignalState.FROZEN
    before, begun_ns = len(world.builds), world.now_ns
    assert world.run(320) == []
    at = [begun_ns, *world.builds[before:]]
    waits = [round((later - earlier) / S) for earlier, later in itertools.pairwise(at)]
    assert (
        waits
        == [round(wait / S) for wait in (*REFRESH_NS, REFRESH_NS[-1], REFRESH_NS[-1], REFRESH_NS[-1])][: len(waits)]
    )
    assert len(waits) >= len(REFRESH_NS) + 2
    assert not any(verdict.usable for at_ns, verdict, _ in world.history if at_ns > begun_ns)
    world.good()
    world.until_live(BACK_NS)
    world.content = Look.REPEATED
    world.run(1)
    before = world.now_ns
    world.run(6)
    assert world.builds[-1] - before <= REFRESH_NS[0]


def test_a_search_for_the_field_in_a_refreshed_frozen_picture_is_still_frozen() -> None:
    world = live()
    world.content = Look.REPEATED
    builds = len(world.builds)
    while len(world.builds) == builds:
        world.step()
    world.layout = Layout.SEARCHING
    assert world.run(0.6) == []
    world.layout = Layout.KNOWN
    world._build()  # with the field that was found
    assert world.run(5) == []
    assert world.state is SignalState.FROZEN
