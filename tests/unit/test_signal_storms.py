"""The capture state machine when things come and go, break again and again, or happen in any order at all."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.capture.evidence import (
    FLAPS,
    FRESH,
    RETRY_NS,
    STORM,
    STORM_RETRY_NS,
    STORM_WITHIN_NS,
    Layout,
    Link,
    Look,
    S,
    Seen,
)
from edge.capture.signal import Act, Signal
from edge.types import SignalState
from tests.support.signal_world import BACK_NS, World, check, live

# ------------------------------------------------------------------------------------- flaps, storms, pulls


def test_a_signal_that_comes_and_goes_is_unstable_and_gets_no_pipeline() -> None:
    world = live()
    for number in range(FLAPS + 6):
        world.link = Link.LOCKED if number % 2 else Link.NO_SIGNAL
        world.run(0.1)
    world.link = Link.LOCKED
    builds = len(world.builds)
    begun = world.run(0.6)
    assert world.state is SignalState.UNSTABLE
    assert len(world.builds) == builds
    assert begun == []  # one state for all of it: each change of state is a message
    world.until_live(BACK_NS)


def test_a_lock_that_was_lost_comes_back() -> None:
    world = live()
    world.link = Link.UNLOCKED
    world.run(5)
    assert world.state is SignalState.UNSTABLE
    world.good()
    world.until_live(BACK_NS)


@pytest.mark.parametrize("dies_after", [0, 1, FRESH, 2 * FRESH], ids=lambda pictures: f"dies after {pictures}")
@pytest.mark.parametrize("knows", [True, False])
def test_builds_that_fail_are_bounded(dies_after: int, knows: bool) -> None:
    """Hurried ones until the latch, then one every STORM_RETRY_NS; both may fall into one minute."""
    world = World(knows=knows, builds_work=bool(dies_after), dies_after=dies_after)
    world.run(300)
    most = STORM + STORM_WITHIN_NS // STORM_RETRY_NS + 1
    for begun_ns in world.builds:
        assert sum(begun_ns <= at_ns < begun_ns + 60 * S for at_ns in world.builds) <= most
    assert any(verdict.state is SignalState.FAILED for _, verdict, _ in world.history)
    why = "it died" if dies_after else "cannot be built"
    assert all(why in verdict.detail for _, verdict, _ in world.history if verdict.state is SignalState.FAILED)
    world.good()
    world.until_live(STORM_RETRY_NS + BACK_NS)


def test_the_latch_says_the_last_fault_and_not_itself() -> None:
    world = live(knows=False)
    world.content = None
    world.run(200)
    assert world.state is SignalState.FAILED
    assert world.signal.detail.count("faults within a minute") == 1
    assert "no picture for" in world.signal.detail


def test_a_pipeline_that_works_again_ends_the_storm_whatever_it_shows() -> None:
    world = World(builds_work=False)
    world.run(20)
    assert world.state is SignalState.FAILED
    world.good()
    world.content = Look.BLACK
    world.run(STORM_RETRY_NS / S + 3)
    assert world.state is SignalState.BLACK


@pytest.mark.parametrize("pulls", [50, 200])
@pytest.mark.parametrize(("out_s", "back_s"), [(0.3, 1.0), (2.0, 2.5)])
def test_pulls_in_a_row_with_a_driver_that_tells(pulls: int, out_s: float, back_s: float) -> None:
    world = live()
    for _ in range(pulls):
        world.link = Link.NO_SIGNAL
        world.run(out_s)
        world.link = Link.LOCKED
        world.until_live(BACK_NS)
        world.run(back_s)
    assert len(world.builds) == pulls + 1
    assert not any(verdict.state is SignalState.FAILED for _, verdict, _ in world.history)


@pytest.mark.parametrize("pulls", [50, 200])
@pytest.mark.parametrize("out_s", [0.5, 1.5])
def test_pulls_in_a_row_with_a_driver_that_knows_nothing(pulls: int, out_s: float) -> None:
    world = live(knows=False)
    for _ in range(pulls):
        world.content = None
        world.run(out_s)
        latched = world.state is SignalState.FAILED
        world.content = Look.MOVING
        world.until_live(STORM_RETRY_NS + BACK_NS if latched else RETRY_NS[2] + BACK_NS)
        world.run(2.5)


# --------------------------------------------------------------------------------------- any history


class Spell(NamedTuple):
    """So long the world is like that."""

    seconds: float
    world: dict[str, object]


def spells(knows: bool) -> st.SearchStrategy[list[Spell]]:
    links = list(Link) if knows else [Link.UNKNOWN, Link.GONE]
    links.remove(Link.UNKNOWN) if knows else None
    world = st.fixed_dictionaries(
        {},
        optional={
            "link": st.sampled_from(links),
            "content": st.sampled_from([*Look, None]),
            "layout": st.sampled_from(Layout),
            "builds_work": st.booleans(),
            "dies_after": st.sampled_from([0, 0, 1, 4, 60]),
            "rate": st.sampled_from([25.0, 90.0]),
            "repeats": st.sampled_from([1, 2]),
            "error": st.sampled_from(["", "broken"]),
            "changed": st.sampled_from(["", "720p60 became 1080p60"]),
            "running": st.just(False),  # the pipeline fell over
        },
    )
    lengths = st.sampled_from([0.02, 0.04, 0.1, 0.3, 0.6, 1.1, 2.5, 7.0])
    return st.lists(st.builds(Spell, lengths, world), max_size=14)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), knows=st.booleans())
def test_from_any_history_a_good_world_is_live_again(data: st.DataObject, knows: bool) -> None:
    world = World(knows=knows)
    for spell in data.draw(spells(knows)):
        for key, value in spell.world.items():
            setattr(world, key, value)
        world.run(spell.seconds)
    world.good()
    world.error = world.changed = ""
    world.until_live_or_due()
    before = len(world.history)
    assert world.run(3) == []
    assert sum(verdict.usable for _, verdict, _ in world.history[before:]) == 75


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, S // 100, S // 25, S // 2, 3 * S, 70 * S]),
            st.builds(
                Seen,
                now_ns=st.just(0),
                link=st.sampled_from(Link),
                running=st.booleans(),
                look=st.sampled_from([*Look, None]),
                layout=st.sampled_from(Layout),
                changed=st.sampled_from(["", "", "other"]),
                error=st.sampled_from(["", "", "broken"]),
                rate=st.sampled_from([0.0, 25.0, 400.0]),
                nominal=st.sampled_from([0.0, 1.0, 25.0]),
            ),
        ),
        max_size=60,
    )
)
def test_no_order_of_events_makes_a_picture_usable_that_is_not(steps: list[tuple[int, Seen]]) -> None:
    """Whatever is said, in whatever order; also what a driver would never say."""
    signal, now_ns, state = Signal(), S, SignalState.STARTING
    for wait_ns, drawn in steps:
        now_ns += wait_ns
        seen = drawn._replace(now_ns=now_ns)
        verdict = signal.step(seen)
        check(verdict, seen)
        assert verdict.changed is (verdict.state is not state)
        state = verdict.state
        if verdict.act is Act.BUILD:
            signal.built(now_ns)
