"""What is said of an engine's build: begin, end and failure at once, progress rarely."""

from __future__ import annotations

import itertools

import pytest

from edge.decide.config import RulesConfig
from edge.decide.engine import EVERY_NS, Engine, News
from edge.decide.moment import Moment
from edge.decide.rules import Rules
from edge.messages import EngineChanged
from edge.types import Gap, SignalState

BEGUN, BUILT = News("begun", "another power mode"), News("built", "int8_trt")
SECOND = 1_000_000_000


class Told:
    """News and the clock, moved by hand."""

    def __init__(self) -> None:
        self.engine, self.now_ns = Engine(), 0

    def hear(self, *news: News, after_s: float = 0.0) -> list[News]:
        self.now_ns += round(after_s * SECOND)
        self.engine.news += news
        events = self.engine.step(Moment(self.now_ns * 50, self.now_ns))
        assert all(event.captured_ns == self.now_ns and event.media_ns == self.now_ns * 50 for event in events)
        return [News(event.state, event.detail, event.share) for event in events]


def building(share: float, phase: str = "tactics") -> News:
    return News("building", phase, share)


def test_begin_end_and_failure_are_said_at_once_and_in_order() -> None:
    told = Told()
    assert told.hear(BEGUN) == [BEGUN]
    last = (BUILT, News("failed", "the new engine is not used"))
    assert told.hear(*last) == list(last)
    assert told.hear(after_s=99) == []


def test_hundreds_of_steps_are_said_every_ten_seconds_at_most() -> None:
    told = Told()
    told.hear(BEGUN)
    said = [(told.now_ns, *heard) for step in range(1000) if (heard := told.hear(building(step / 1000), after_s=0.1))]
    assert len(said) == pytest.approx(9, abs=1)
    assert all(late[0] - early[0] >= EVERY_NS for early, late in itertools.pairwise(said))


def test_a_slow_build_is_said_by_tenths() -> None:
    told = Told()
    told.hear(BEGUN)
    said = [told.hear(building(step / 50), after_s=30) for step in range(51)]
    assert [news.share for heard in said for news in heard] == pytest.approx([tenth / 10 for tenth in range(11)])


def test_the_next_phase_begins_anew() -> None:
    told = Told()
    told.hear(BEGUN)
    assert told.hear(building(0.9), after_s=10) == [building(0.9)]
    assert told.hear(building(0.0, "kernels"), after_s=9) == []
    assert told.hear(after_s=1) == [building(0.0, "kernels")]  # it was only due later
    assert told.hear(after_s=99) == []


def test_what_led_to_the_end_is_not_said_after_it() -> None:
    told = Told()
    told.hear(BEGUN)
    assert told.hear(building(0.5), BUILT, after_s=1) == [BUILT]
    assert told.hear(after_s=99) == []


def test_the_rules_say_it_without_a_signal_and_at_the_end() -> None:
    engine = Engine()
    rules = Rules(RulesConfig(), "run", engine=engine)
    engine.news.append(BEGUN)
    first, *_ = rules.step(Gap(captured_ns=5, media_ns=5, state=SignalState.NO_SIGNAL))
    assert first == EngineChanged(state="begun", detail=BEGUN.detail, captured_ns=5, media_ns=5)
    engine.news.append(BUILT)
    assert [event.state for event in rules.finish(6, 6) if isinstance(event, EngineChanged)] == ["built"]
    assert rules.finish(7, 7) == []
