"""The degradation ladder: what the table promises, and what must hold of it under any load."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.decide import ladder
from edge.decide.config import RulesConfig
from edge.decide.ladder import BETTER_AFTER_NS, LADDER, WORSE_AFTER_NS, Ladder, Load
from edge.decide.moment import Moment
from edge.decide.rules import Rules
from edge.messages import EffortChanged
from edge.types import Gap, SignalState

SECOND = 1_000_000_000
DOCS = Path(__file__).parents[2] / "docs"
COOL = Load("gpu-thermal", 40.0, (), 0.3)
LOADS = st.builds(
    Load,
    zone=st.just("gpu-thermal"),
    room_c=st.none() | st.floats(-20.0, 60.0),
    throttled=st.sampled_from([(), ("gpu",)]),
    demand=st.none() | st.floats(0.0, 6.0),
)


class Play:
    """A ladder that is stepped four times a second."""

    def __init__(self) -> None:
        self.ladder = Ladder()
        self.now_ns = 0

    def under(self, load: Load, seconds: float) -> list[EffortChanged]:
        self.ladder.load = load
        events = []
        for _ in range(round(seconds * 4)):
            self.now_ns += SECOND // 4
            event = self.ladder.step(Moment(self.now_ns, self.now_ns))
            events += [event] if event else []
        return events


def names(events: list[EffortChanged]) -> list[str]:
    return [event.effort for event in events]


def test_heads_go_first_then_the_rate_and_regions_are_always_looked_for() -> None:
    assert [rung.frames_every for rung in LADDER] == sorted(rung.frames_every for rung in LADDER)
    rates = [(rung.heads_every or math.inf) for rung in LADDER]
    assert rates == sorted(rates)
    slower = [rung for rung in LADDER if rung.frames_every > 1]
    assert slower
    assert all(rung.heads_every == 0 for rung in slower)
    assert all(rung.frames_every >= 1 for rung in LADDER)


def test_bands_overlap_and_each_rung_wants_more_than_the_one_before() -> None:
    rungs = LADDER[1:]
    for rung in rungs:
        assert rung.room_c.leave > rung.room_c.enter
        assert rung.demand.leave < rung.demand.enter
    for lower, higher in itertools.pairwise(rungs):
        assert higher.room_c.enter < lower.room_c.enter < higher.room_c.leave < lower.room_c.leave
        assert higher.demand.enter >= lower.demand.enter


def test_a_box_that_heats_up_and_cools_down() -> None:
    play = Play()
    assert play.under(COOL, 60) == []
    assert names(play.under(Load("gpu-thermal", 11.5), 60)) == ["sparse"]
    assert names(play.under(Load("gpu-thermal", 8.0), 60)) == ["regions"]
    assert names(play.under(Load("gpu-thermal", 2.0), 60)) == ["half", "quarter"]
    assert names(play.under(Load("gpu-thermal", 7.9), 60)) == []
    assert names(play.under(Load("gpu-thermal", 11.5), 60)) == ["half", "regions"]
    (event, *_) = play.under(COOL, 60)
    assert (event.effort, event.previous) == ("sparse", "regions")
    assert event.reason == "gpu-thermal 40.0 C below its limit, the feed needs 0.30 of the time there is"
    assert play.ladder.rung.name == "full"


@pytest.mark.parametrize(
    ("load", "ends", "reason"),
    [
        (Load(throttled=("cpu", "gpu")), "half", "the hardware holds back: cpu, gpu"),
        (Load(demand=1.2), "regions", "the feed needs 1.20 times the time there is"),
        (Load(demand=2.5), "half", "the feed needs 2.50 times the time there is"),
        (Load(demand=4.5), "quarter", "the feed needs 4.50 times the time there is"),
        (Load("cpu", -1.0), "quarter", "cpu -1.0 C below its limit"),
    ],
)
def test_every_reason_alone(load: Load, ends: str, reason: str) -> None:
    play = Play()
    events = play.under(load, 60)
    assert (events[-1].effort, events[-1].reason) == (ends, reason)
    assert [event.previous for event in events] == ["full", *names(events)[:-1]]
    assert names(play.under(Load(), 120))[-1] == "full"


def test_a_moment_of_heat_is_no_reason() -> None:
    play = Play()
    for _ in range(20):
        assert play.under(Load("gpu", 1.0), 3.0) == []
        assert play.under(Load("gpu", 20.0), 0.25) == []


@settings(max_examples=200, deadline=None)
@given(history=st.lists(st.tuples(LOADS, st.floats(0.1, 40.0)), max_size=8), last=LOADS)
def test_it_settles_under_any_load_after_any_history(history: list[tuple[Load, float]], last: Load) -> None:
    """No load, however it stands, makes it move to and fro."""
    play = Play()
    for load, seconds in history:
        play.under(load, seconds)
    play.under(last, len(LADDER) * BETTER_AFTER_NS / SECOND + 1)
    assert play.under(last, 60) == []


@settings(max_examples=100, deadline=None)
@given(history=st.lists(st.tuples(LOADS, st.floats(0.1, 40.0)), max_size=12))
def test_one_rung_at_a_time_and_never_sooner_than_asked(history: list[tuple[Load, float]]) -> None:
    play = Play()
    order = [rung.name for rung in LADDER]
    events = [event for load, seconds in history for event in play.under(load, seconds)]
    place, last_ns = 0, 0
    for event in events:
        now = order.index(event.effort)
        assert event.previous == order[place]
        assert abs(now - place) == 1
        assert event.captured_ns - last_ns >= (WORSE_AFTER_NS if now > place else BETTER_AFTER_NS)
        assert event.reason
        place, last_ns = now, event.captured_ns


@settings(max_examples=100, deadline=None)
@given(history=st.lists(st.tuples(LOADS, st.floats(0.1, 40.0)), max_size=6))
def test_what_is_not_known_is_no_reason(history: list[tuple[Load, float]]) -> None:
    play = Play()
    for load, seconds in history:
        play.under(load, seconds)
    play.under(Load(), len(LADDER) * BETTER_AFTER_NS / SECOND + 1)
    assert play.ladder.rung.name == "full"


def test_the_rules_say_it_first_and_on_the_real_clock() -> None:
    """A clip's own time may run as it likes."""
    steps = Ladder()
    rules = Rules(RulesConfig(), "run", steps)
    steps.load = Load("cpu", 1.0)

    def late(captured_ns: int) -> Gap:
        return Gap(captured_ns=captured_ns, media_ns=captured_ns * 50, state=SignalState.LIVE)

    assert not [event for event in rules.step(late(0)) if isinstance(event, EffortChanged)]
    assert rules.step(late(WORSE_AFTER_NS - 1)) == []
    (event,) = rules.step(late(WORSE_AFTER_NS))
    assert isinstance(event, EffortChanged)
    assert (event.effort, event.media_ns) == ("sparse", WORSE_AFTER_NS * 50)


def test_the_documented_table_is_the_table() -> None:
    assert ladder.table() in (DOCS / "board.md").read_text(encoding="utf-8")
