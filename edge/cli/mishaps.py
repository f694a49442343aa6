"""What went wrong in the core, kept in RUN_DIR over its restarts; not over the machine's, for that has the journal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from edge import status
from edge.cli import safe
from edge.history import History, Trouble
from edge.ledger import Ledger
from edge.messages import EngineChanged, Event
from edge.record.spool import SpoolStatus
from edge.types import BoardReading, Findings, Gap, SignalState

FILE = "core.troubles"
FINE = (SignalState.STARTING, SignalState.LIVE, SignalState.FORMAT_CHANGED, SignalState.ENDED)


class Mishaps:
    """Owner: the core loop's thread."""

    def __init__(self, run_dir: Path) -> None:
        """Knows how the core before this one ended."""
        self._path, now_ns = run_dir / FILE, time.monotonic_ns()
        self._history = History(status.read(self._path, list[Trouble]) or (), now_ns)
        self._written: tuple[Trouble, ...] = ()
        told_ns = self._path.stat().st_mtime_ns if self._path.exists() else 0
        if ended := safe.bad_end(run_dir, told_ns):
            self._history.note("core", f"was started again: {ended}", now_ns)
            self._keep()  # told once

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        return self._history.troubles

    def hear(
        self,
        moment: Gap | Findings | None,
        events: Sequence[Event],
        ledger: Ledger,
        spool: SpoolStatus | None,
        board: BoardReading | None,
    ) -> None:
        """Of every moment with events, and once a second."""
        now_ns = time.monotonic_ns()
        for event in events:
            if isinstance(event, EngineChanged) and event.state == "failed":
                self._history.note("engine", event.detail, now_ns)
        wrong = {
            "signal": _signal(moment),
            "events": ledger.fault,
            "spool": spool.fault if spool else "",
            "board": f"throttled: {', '.join(board.throttled)}" if board and board.throttled else "",
        }
        self._history.step(wrong, now_ns)
        self._keep()

    def _keep(self) -> None:
        if self.troubles == self._written:
            return
        self._written = self.troubles
        with contextlib.suppress(OSError):  # a folder that cannot be written has its line in the log already
            status.write(self._path, list(self.troubles))


def _signal(moment: Gap | Findings | None) -> str:
    if not isinstance(moment, Gap) or moment.state in FINE:
        return ""
    return f"{moment.state.value}: {moment.detail}" if moment.detail else moment.state.value
