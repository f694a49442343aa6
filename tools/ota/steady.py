"""A core and an uplink that do well, as far as an updater can see: what they would say, without pictures."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from edge import status
from edge.console.report import Report, Row
from edge.types import SignalState

FPS = 25.0


class Steady:
    """A thread that writes status files until it is closed. What it says may be changed at any time; `later`: version →
    what is otherwise as soon as that one runs."""

    def __init__(self, run_dir: Path, version: str) -> None:
        self.version, self.pid, self.fps, self.p99_ms = version, 4711, FPS, 20.0
        self.state, self.procedure, self.connected, self.alive = SignalState.LIVE, "", True, True
        self.later: dict[str, dict[str, object]] = {}
        self._run_dir, self._frames, self._stop = run_dir, 0, threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._run, name="steady")
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def runs(self, version: str) -> None:
        """The box has switched."""
        if version != self.version:
            self.pid += 1
            self.fps, self.p99_ms, self.state, self.connected, self.alive = FPS, 20.0, SignalState.LIVE, True, True
            for name, value in self.later.get(version, {}).items():
                setattr(self, name, value)
            self.version = version

    def test(self, wrong: str = "") -> None:
        """A self-test's report. `wrong`: what its golden vectors lack."""
        rows = [Row("golden vectors", not wrong, wrong or "fit")]
        report = Report(ok=not wrong, checks=rows, exit=int(bool(wrong)), at_ns=time.monotonic_ns())
        status.write(self._run_dir / "selftest.json", report)

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            self._write()

    def _write(self) -> None:
        self._frames += round(self.fps / 5)
        core = {
            "version": self.version,
            "pid": self.pid,
            "state": self.state.value,
            "procedure": self.procedure,
            "fps": self.fps,
            "updated_ns": time.monotonic_ns(),
            "source": {"frames": self._frames},
            "stages": {"infer": {"p99_ms": self.p99_ms}},
        }
        if self.alive:
            status.write(self._run_dir / "status.json", core)
            uplink = {"connected": self.connected, "updated_ns": time.monotonic_ns()}
            status.write(self._run_dir / "uplink.json", uplink)
