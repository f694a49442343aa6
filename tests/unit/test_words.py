"""Events as people read them, and what the status file says of landmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge import core, model, status
from edge.cli import assemble
from edge.cli.run_core import Reporter
from edge.cli.words import say
from edge.infer import null
from edge.ledger import Ledger
from edge.messages import (
    Alert,
    EffortChanged,
    EngineChanged,
    Event,
    Judged,
    LandmarkReached,
    Priority,
    ProcedureDropped,
    ProcedureEnded,
    ProcedureStarted,
    ViewChanged,
)
from edge.status import CoreStatus
from edge.timing import Stages
from edge.types import Classification, Findings, SourceStats, View
from tests.support import models

CAECUM = LandmarkReached(
    kind="caecum",
    procedure="p",
    captured_ns=0,
    media_ns=12_700_000_000,
    first_seen_ns=12_345_000_000,
    after_ns=10_300_000_000,
    best_score=0.934,
)


def judged(label: str, **shares: float) -> Judged:
    views = 812 if shares else 0
    return Judged(
        kind="preparation", procedure="p", captured_ns=0, media_ns=1, label=label, views=views, unsure=60, shares=shares
    )


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (CAECUM, "caecum reached at 12.3 s, 10.3 s after the procedure began (best score 0.93)"),
        (
            judged("adequate", adequate=0.94, inadequate=0.06),
            "preparation: adequate (adequate 94%, inadequate 6% of 812 good views, 60 unsure)",
        ),
        (judged("", adequate=1.0), "preparation: no verdict (adequate 100% of 812 good views, 60 unsure)"),
        (judged(""), "preparation: no verdict (0 good views, 60 unsure)"),
        (
            Alert(kind="polyp", priority=Priority.HIGH, text="Possible polyp 1", captured_ns=1, media_ns=1),
            "ALERT high: Possible polyp 1",
        ),
        (ViewChanged(view=View.POOR, previous=View.GOOD, captured_ns=1, media_ns=1), "view view poor"),
        (
            EffortChanged(effort="half", previous="regions", reason="cpu hot", captured_ns=1, media_ns=1),
            "effort half, was regions: cpu hot",
        ),
        (
            EngineChanged(state="building", detail="Building the engine", share=0.4, captured_ns=1, media_ns=1),
            "engine building: Building the engine 40%",
        ),
        (
            EngineChanged(state="failed", detail="no room", captured_ns=1, media_ns=1),
            "engine failed: no room",
        ),
        (
            ProcedureDropped(procedure="p", reason="no room", captured_ns=1, media_ns=1),
            "procedure p is removed: no room",
        ),
        (
            ProcedureEnded(procedure="p", captured_ns=1, media_ns=1, duration_ns=1, findings=2),
            "procedure_ended findings 2",
        ),
    ],
)
def test_say(event: Event, words: str) -> None:
    assert say(event) == words


class Still:
    """A source with nothing to count."""

    waited_ns = 0

    def stats(self) -> SourceStats:
        return SourceStats()


def test_the_status_file_has_classes_and_landmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Landmarks stay until the next procedure begins, also past the end of theirs."""
    file = tmp_path / "endoedge.toml"
    file.write_text(
        'device = "d"\npipeline = "colonoscopy"\nrun_dir = "."\n[capture]\nsource = "phantom"\n'
        '[uplink]\nhost = "127.0.0.1"\n'
    )
    site, loaded = assemble.load_site(file), model.load(models.build(tmp_path / "green"))
    source: Any = Still()
    backend = null.open(null.Config(), loaded)
    reporter = Reporter(site, loaded, backend, source, Ledger(Unused), Stages(core.STAGES))
    said = (Classification(head="landmark", label="caecum", score=0.9),)
    moment = Findings(seq=1, captured_ns=0, media_ns=0, classifications=said)

    def after(*events: Event) -> CoreStatus:
        reporter(moment, events)
        reporter.write(moment)
        written = status.read(site.status_path, CoreStatus)
        assert written is not None
        return written

    started = ProcedureStarted(procedure="p", captured_ns=0, media_ns=0)
    ended = ProcedureEnded(procedure="p", captured_ns=0, media_ns=0, duration_ns=0, findings=0)
    assert after(started).landmarks == []
    assert after(CAECUM).landmarks == ["caecum"]
    assert after(ended).landmarks == ["caecum"]
    assert after().classes == {"landmark": "caecum"}
    assert after(started).landmarks == []


class Unused:
    """A store that nothing is put into."""

    def put(self, events: Any) -> list[Any]:
        raise AssertionError(events)

    def close(self) -> None:
        pass
