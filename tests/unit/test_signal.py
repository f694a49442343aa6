"""The capture state machine in a simulated world: a clock, a cable, a driver, a pipeline that obeys, or fails to."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.capture.evidence import (
    BROKEN,
    FLAPS,
    FRESH,
    REFRESH_NS,
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
from edge.capture.signal import TABLE, Act, Signal, Verdict
from edge.types import SignalState

STEP_NS = S // 25
BACK_NS = 3 * S // 2  # from a good world to `live`
PLACEHOLDERS = (Look.BLACK, Look.BARS, Look.FLAT)


@dataclass
class World:
    """What is at the other end of the cable, and a loop that asks every STEP_NS, as `LiveSource` does."""

    knows: bool = True  # the driver says what the cable carries
    link: Link = Link.LOCKED
    content: Look | None = Look.MOVING  # of the pictures that come; None: none come
    step_ns: int = STEP_NS  # a picture comes at every step
    repeats: int = 1  # each picture comes so often
    layout: Layout = Layout.KNOWN
    builds_work: bool = True
    dies_after: int = 0  # pictures; 0: never
    rate: float = 25.0
    nominal: float = 25.0

    now_ns: int = 7 * S
    running: bool = False
    error: str = ""
    changed: str = ""
    since_build: int = 0  # pictures
    signal: Signal = field(default_factory=Signal)
    builds: list[int] = field(default_factory=list)
    history: list[tuple[int, Verdict, Seen]] = field(default_factory=list)

    def step(self) -> Verdict:
        self.now_ns += self.step_ns
        seen = self._seen()
        verdict = self.signal.step(seen)
        self.history.append((self.now_ns, verdict, seen))
        check(verdict, seen)
        assert verdict.detail or verdict.state is SignalState.LIVE, "a state without what was seen of it"
        if verdict.act is Act.STOP:
            self.running = False
        elif verdict.act is Act.BUILD:
            self._build()
        return verdict

    def _seen(self) -> Seen:
        link = self.link if self.knows else (Link.GONE if self.link is Link.GONE else Link.UNKNOWN)
        error, self.error = self.error, ""
        look = None
        if self.running and self.link not in BROKEN and self.content is not None:
            look = self._picture()
            self.since_build += 1
        if self.dies_after and self.since_build >= self.dies_after and self.running:
            error = "it died"
        if error:
            self.running = False
        changed, self.changed = (self.changed if self.running else ""), ""
        return Seen(
            now_ns=self.now_ns,
            link=link,
            running=self.running,
            look=None if changed else look,
            layout=self.layout,
            changed=changed,
            error=error,
            rate=self.rate,
            nominal=self.nominal,
        )

    def _picture(self) -> Look:
        """The first of a pipeline has none before it."""
        if self.content is Look.REPEATED and self.since_build == 0:
            return Look.MOVING
        if self.content is Look.MOVING and self.since_build % self.repeats:
            return Look.REPEATED
        assert self.content is not None
        return self.content

    def _build(self) -> None:
        self.builds.append(self.now_ns)
        self.since_build = 0
        self.running = self.builds_work
        self.error = "" if self.builds_work else "cannot be built"
        self.signal.built(self.now_ns)

    def run(self, seconds: float) -> list[SignalState]:
        """The states that began in that time."""
        begun = []
        for _ in range(round(seconds * S / self.step_ns)):
            verdict = self.step()
            if verdict.changed:
                begun.append(verdict.state)
        return begun

    def good(self) -> None:
        self.link, self.content, self.layout, self.builds_work = Link.LOCKED, Look.MOVING, Layout.KNOWN, True
        self.dies_after, self.rate, self.repeats = 0, 25.0, 1

    def until_live(self, at_most_ns: int) -> int:
        """How long it took, ns."""
        begun_ns = self.now_ns
        while self.step().state is not SignalState.LIVE:
            assert self.now_ns - begun_ns <= at_most_ns, f"still {self.signal.state.value}: {self.signal.detail}"
        return self.now_ns - begun_ns

    def until_live_or_due(self) -> None:
        """Within BACK_NS of now, or of the build that earlier faults have put off."""
        due_ns = begun_ns = self.now_ns
        while self.step().state is not SignalState.LIVE:
            due_ns = max(due_ns, self.signal._memory.next_build_ns)
            assert due_ns - begun_ns <= STORM_RETRY_NS + STEP_NS
            assert self.now_ns - due_ns <= BACK_NS, f"still {self.state.value}: {self.signal.detail}"

    @property
    def state(self) -> SignalState:
        return self.signal.state


def check(verdict: Verdict, seen: Seen) -> None:
    """What holds at every step of every world."""
    if verdict.usable:
        assert verdict.state is SignalState.LIVE
        assert seen.look is Look.MOVING
        assert seen.link in (Link.UNKNOWN, Link.LOCKED)
        assert seen.running
        assert seen.layout is Layout.KNOWN
        assert not seen.error
        assert not seen.changed
        assert verdict.act is Act.NONE
    if verdict.state is SignalState.LIVE:
        assert verdict.detail == ""
        assert seen.running, "live, and nothing runs"
    assert len(verdict.detail) < 200
    if seen.link in BROKEN:
        assert verdict.state is not SignalState.LIVE
        assert verdict.act is (Act.STOP if seen.running else Act.NONE)


def live(**world: object) -> World:
    made = World(**world)  # type: ignore[arg-type]
    made.until_live(BACK_NS)
    made.run(0.5)
    assert made.state is SignalState.LIVE
    return made


# --------------------------------------------------------------------------------------------- the table


def test_every_state_but_the_files_own_has_one_row_that_people_can_read() -> None:
    rows = Counter(row.state for row in TABLE)
    assert rows == Counter(state for state in SignalState if state is not SignalState.ENDED)
    assert all(row.means and row.seen_by for row in TABLE)
    assert all(row.recovery for row in TABLE if row.state is not SignalState.LIVE)
    assert TABLE[-1].state is SignalState.LIVE


def storm(world: World) -> None:
    world.builds_work, world.running, world.error = False, False, "it broke"


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
    storm(world)
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
