"""The loop itself, with real heads and rules, and sources and backends that behave as told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import core, model
from edge.capture import field
from edge.decide.rules import Rules
from edge.errors import InferenceError
from edge.heads import open_all
from edge.infer import null
from edge.ledger import InMemory, Ledger
from edge.messages import ProcedureEnded, ProcedureStarted
from edge.timing import Stages
from edge.types import Findings, Frame, Gap, SignalState, SourceStats
from tests.support import models

FRAME_NS = 40_000_000


def gap(state: SignalState, at_ns: int = 0, final: bool = False) -> Gap:
    return Gap(captured_ns=at_ns, media_ns=at_ns, state=state, final=final)


class Script:
    """A source that plays a list: a number is a frame, a state is a gap, its last when it says so. Counts leases."""

    waited_ns = 0

    def __init__(self, items: Sequence[int | SignalState | Gap], size: int) -> None:
        self._items = list(items)
        self._image = np.zeros((size, size, 4), np.uint8)
        self._field = field.whole(size, size)
        self._now_ns = 0
        self.lent = self.returned = 0

    def next(self, timeout_s: float) -> Frame | Gap:
        self._now_ns += FRAME_NS
        item = self._items.pop(0) if self._items else SignalState.ENDED
        if isinstance(item, SignalState):
            return gap(item, self._now_ns, final=item in (SignalState.ENDED, SignalState.FAILED))
        if isinstance(item, Gap):
            return item
        self.lent += 1
        return Frame(
            seq=self.lent,
            image=self._image,
            captured_ns=self._now_ns,
            media_ns=self._now_ns,
            field=self._field,
            release=self._give_back,
        )

    def _give_back(self) -> None:
        self.returned += 1

    def stats(self) -> SourceStats:
        return SourceStats(frames=self.lent)

    def close(self) -> None:
        pass


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Any]:
    loaded = model.load(models.build(tmp_path / "green"))
    pipeline, rules = models.pipeline(tmp_path)
    return {
        "backend": null.open(null.Config(), loaded),
        "heads": open_all(pipeline.heads, tuple(loaded.manifest.outputs)),
        "rules": Rules(rules, run_id="run"),
        "stages": Stages(core.STAGES),
    }


def run(
    parts: dict[str, Any], items: Sequence[int | SignalState | Gap], stop: Any = lambda: False
) -> tuple[Script, InMemory, Any]:
    source, kept, moments = Script(items, models.SIZE), InMemory(), []
    last = core.run(
        source,
        parts["backend"],
        parts["heads"],
        parts["rules"],
        Ledger(lambda: kept),
        parts["stages"],
        lambda moment, events: moments.append(moment),
        stop,
    )
    assert not moments or last is moments[-1]
    return source, kept, moments


def test_a_procedure_begins_and_ends_and_every_lease_is_returned(parts: dict[str, Any]) -> None:
    source, kept, moments = run(parts, [1] * 100)
    assert (source.lent, source.returned) == (100, 100)
    assert [type(event) for event in kept.events if isinstance(event, ProcedureStarted | ProcedureEnded)] == [
        ProcedureStarted,
        ProcedureEnded,
    ]
    assert sum(isinstance(moment, Findings) for moment in moments) == 100
    assert isinstance(moments[-1], Gap)


def test_gaps_reach_the_rules_and_do_not_end_the_run(parts: dict[str, Any]) -> None:
    _, kept, moments = run(parts, [1, SignalState.NO_SIGNAL, SignalState.NO_SIGNAL, 1, SignalState.FAILED, 1])
    states = [event.state for event in kept.events if hasattr(event, "state")]
    assert states == [SignalState.LIVE, SignalState.NO_SIGNAL, SignalState.LIVE, SignalState.FAILED]
    assert moments[-1].state is SignalState.FAILED  # nothing after it


def test_a_failure_that_is_not_final_is_waited_out(parts: dict[str, Any]) -> None:
    source, _, moments = run(parts, [1, gap(SignalState.FAILED, FRAME_NS), 1])
    assert source.lent == 2
    assert moments[-1].state is SignalState.ENDED


def test_stop_is_heard_between_frames_and_the_procedure_is_closed(parts: dict[str, Any]) -> None:
    asked = iter(range(1000))
    source, kept, _ = run(parts, [1] * 500, stop=lambda: next(asked) >= 80)
    assert source.lent == 80
    assert isinstance(kept.events[-1], ProcedureEnded)


def test_stop_before_the_first_frame(parts: dict[str, Any]) -> None:
    source, kept, moments = run(parts, [1], stop=lambda: True)
    assert (source.lent, kept.events, moments) == (0, [], [])


def test_inference_errors_are_not_swallowed(parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(image: Any) -> Any:
        raise InferenceError("the GPU is gone")

    monkeypatch.setattr(parts["backend"], "infer", broken)
    with pytest.raises(InferenceError, match="the GPU is gone"):
        run(parts, [1])


def test_every_stage_is_timed_at_every_frame(parts: dict[str, Any]) -> None:
    run(parts, [1] * 10)
    counts = {name: len(parts["stages"].recent_ns(name)) for name in core.STAGES}
    assert counts["infer"] == counts["heads"] == 10
    assert counts["wait"] == counts["capture"] == counts["decide"] == counts["commit"] == counts["report"] == 11


def test_it_fits_on_one_screen() -> None:
    assert len(Path(core.__file__).read_text().splitlines()) <= 70
