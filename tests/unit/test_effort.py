"""What a rung of the ladder does: heads are not asked, frames are let go; and the load that it is judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import core, model
from edge.board.watch import Watch
from edge.capture.thinned import Thinned
from edge.cli import assemble, governor
from edge.cli.governor import Feed, Governor
from edge.decide.ladder import LADDER, Ladder, Load
from edge.decide.rules import Rules
from edge.heads import Heads, open_all
from edge.messages import EffortChanged
from edge.timing import Stages
from edge.types import (
    BoardReading,
    Field,
    Findings,
    Frame,
    Gap,
    ModelHead,
    Quality,
    Ring,
    SignalState,
    SourceStats,
    TensorSpec,
    View,
    Zone,
)
from tests.support import classes, models

FIELD = Field(x=0, y=0, width=64, height=64, outline=((0, 0), (64, 0), (64, 64), (0, 64)))


class Numbers:
    """A source of numbered frames; every seventh item is a gap. Counts leases."""

    waited_ns = 1000

    def __init__(self) -> None:
        self.asked = self.lent = self.returned = 0

    def next(self, timeout_s: float) -> Frame | Gap:
        self.asked += 1
        if self.asked % 7 == 0 or timeout_s <= 0.0:
            return Gap(captured_ns=self.asked, media_ns=self.asked, state=SignalState.LIVE)
        self.lent += 1
        return Frame(
            seq=self.lent, image=None, captured_ns=self.asked, media_ns=self.asked, field=FIELD, release=self._back
        )

    def _back(self) -> None:
        self.returned += 1

    def stats(self) -> SourceStats:
        return SourceStats(frames=self.lent, dropped=3)

    def describe(self) -> str:
        return "numbers"

    def keep_stills(self, rate: float, seconds: float) -> Ring:
        raise NotImplementedError

    def close(self) -> None:
        pass


@pytest.mark.parametrize("every", [1, 2, 4])
def test_every_nth_frame_comes_all_gaps_come_and_every_lease_goes_back(every: int) -> None:
    numbers = Numbers()
    source = Thinned(numbers)
    source.every = every
    seen: list[int] = []
    gaps = 0
    while numbers.lent < 96:
        item = source.next(5.0)
        if isinstance(item, Frame):
            seen.append(item.seq)
            item.release()
        else:
            gaps += 1
    assert seen == list(range(every, 97, every))
    assert gaps == numbers.asked // 7
    assert numbers.returned == 96
    assert source.stats() == SourceStats(frames=len(seen), dropped=3 + 96 - len(seen), spared=96 - len(seen))
    assert source.waited_ns % 1000 == 0


def test_the_source_says_when_it_is_too_late() -> None:
    source = Thinned(Numbers())
    source.every = 10**9
    assert isinstance(source.next(0.0), Gap)


@pytest.fixture
def heads(tmp_path: Path) -> tuple[Heads, dict[str, Any]]:
    """Regions, quality and two that judge whole pictures; and what the model says of any frame."""
    loaded = model.load(classes.build(tmp_path / "model"))
    file = tmp_path / "colonoscopy.toml"
    file.write_text(models.tables() + classes.TABLES, encoding="utf-8")
    pipeline, rules = assemble.load_pipeline(file)
    outputs = {spec.name: np.ones(spec.shape, spec.dtype) for spec in loaded.manifest.outputs}
    return assemble.fit_heads(pipeline, rules, loaded.manifest), outputs


def decoded(opened: tuple[Heads, dict[str, Any]], count: int) -> list[Findings]:
    decoder, outputs = opened
    frame = Frame(seq=1, image=None, captured_ns=0, media_ns=0, field=FIELD)
    return [decoder.decode(outputs, frame) for _ in range(count)]


@pytest.mark.parametrize(("every", "asked"), [(1, 10), (5, 2), (0, 0)])
def test_heads_of_whole_pictures_are_asked_more_rarely(
    heads: tuple[Heads, dict[str, Any]], every: int, asked: int
) -> None:
    heads[0].spare(every)
    said = decoded(heads, 10)
    assert sum(bool(findings.classifications) for findings in said) == asked
    assert sum(not findings.spared for findings in said) == asked
    assert all(findings.detections and findings.quality for findings in said)


def test_a_pipeline_that_only_judges_whole_pictures_is_never_spared() -> None:
    spec = TensorSpec(name="landmark", dtype="float32", shape=(1, 2))
    labels = [ModelHead(name="landmark", output="landmark", kind="classify", labels=["other", "caecum"])]
    only = open_all([{"kind": "classify", "output": "landmark"}], (spec,), labels)
    only.spare(0)
    said = decoded((only, {"landmark": np.array([[0.0, 9.0]], np.float32)}), 3)
    assert all(findings.classifications and not findings.spared for findings in said)


def test_who_was_not_asked_has_not_been_unsure(tmp_path: Path) -> None:
    """A verdict counts the views in which the head was asked."""
    file = tmp_path / "colonoscopy.toml"
    file.write_text(models.tables() + classes.TABLES, encoding="utf-8")
    _, config = assemble.load_pipeline(file)
    rules = Rules(config, "run")
    good = {"view": View.GOOD, "reason": "", "luma": 0.5, "glare": 0.0, "redness": 0.5, "detail": 8.0}
    for number in range(200):
        at_ns = number * 40_000_000
        spared = number % 2 == 1
        rules.step(Findings(seq=number, captured_ns=at_ns, media_ns=at_ns, quality=Quality(**good), spared=spared))
    judged = [event for event in rules.finish(10**10, 10**10) if hasattr(event, "unsure")]
    assert [event.unsure for event in judged] == [pytest.approx(75, abs=5)]  # half of those after the first 2 s


class Still:
    """A board that stands as it is told."""

    kind = "still"

    def __init__(self, reading: BoardReading) -> None:
        self.reading = reading

    def read(self) -> BoardReading:
        return self.reading


class Clock:
    """`time` for the governor: it stands until it is moved."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns


@pytest.mark.parametrize(
    ("offered", "analysed", "busy_s", "expected"),
    [
        (60, 60, 0.3, 0.3),
        (60, 60, 1.2, 1.0),  # busy without a pause, and yet nothing is missed
        (60, 40, 1.0, 1.5),
        (60, 0, 0.0, None),
        (0, 0, 0.0, None),
    ],
)
def test_demand(
    offered: int, analysed: int, busy_s: float, expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`analysed` of `offered` frames in one second, which took `busy_s`."""
    clock, numbers, stages = Clock(), Numbers(), Stages(core.STAGES)
    monkeypatch.setattr(governor, "time", clock)
    feed = Feed(Thinned(numbers), stages)
    clock.now_ns = 1_000_000_000
    monkeypatch.setattr(stages, "total_s", lambda name: busy_s if name == "infer" else 99.0 * (name == "wait"))
    monkeypatch.setattr(numbers, "stats", lambda: SourceStats(frames=analysed, dropped=3 + offered - analysed))
    assert feed.demand() == (None if expected is None else pytest.approx(expected))


def test_frames_that_were_let_go_are_no_sign_of_being_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the rung `quarter`, of 60 frames 15 are analysed in 0.1 s: all would take 0.4 s."""
    clock, stages = Clock(), Stages(core.STAGES)
    source = Thinned(Numbers())
    monkeypatch.setattr(governor, "time", clock)
    feed = Feed(source, stages)
    clock.now_ns = 1_000_000_000
    monkeypatch.setattr(stages, "total_s", lambda name: 0.1 if name == "infer" else 0.0)
    monkeypatch.setattr(source, "stats", lambda: SourceStats(frames=15, dropped=3 + 45, spared=45))
    assert feed.demand() == pytest.approx(0.4)


def test_the_governor_tells_the_ladder_and_does_what_it_says(heads: tuple[Heads, dict[str, Any]]) -> None:
    hot = Zone(temperature_c=98.0, limit_c=99.0)
    board = Still(BoardReading(kind="still", read_ns=2**62, zones={"gpu": hot}, throttled=("gpu",)))
    source, ladder = Thinned(Numbers()), Ladder()
    watch = Watch(board)
    watch.close()  # the first reading is made, and it stays
    steward = Governor(ladder, watch, heads[0], source, Stages(core.STAGES), keeps_time=False)
    try:
        steward.hear(())
        assert ladder.load == Load("gpu", 1.0, ("gpu",), None)
        assert (steward.effort, source.every) == ("full", 1)
        ladder._place = LADDER.index(next(rung for rung in LADDER if rung.name == "quarter"))
        steward.hear((EffortChanged(effort="quarter", previous="half", reason="hot", captured_ns=0, media_ns=0),))
        assert (steward.effort, source.every) == ("quarter", 4)
        assert not any(findings.classifications for findings in decoded(heads, 20))
        assert steward.board is board.reading
    finally:
        steward.close()
