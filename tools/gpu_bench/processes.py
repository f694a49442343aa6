"""Measurements as processes: started, told to begin together, and read; whatever becomes of one is a value or an error.

A child's standard output is its own: perhaps "ready", then its figures as one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

import msgspec

from edge.errors import EdgeError
from tools.gpu_bench import ROOT, Options
from tools.gpu_bench.children.path import READY, WARM_S

OPENED_WITHIN_S = 300.0  # a session, its graphs, a pipeline; sixteen of them at once
BARE_WITHIN_S = 300.0


class ChildError(EdgeError):
    """A measurement that did not come to an end; what it said last."""


class Runner:
    """Starts children as `python -m module --child NAME`."""

    def __init__(self, module: str) -> None:
        self._module = module

    def one(self, name: str, options: Options) -> dict[str, Any]:
        """Raises ChildError."""
        with self._started(name, options, BARE_WITHIN_S) as child:
            return child.figures()

    def streams(self, count: int, options: Options) -> list[dict[str, Any]]:
        """`count` times `path`, side by side: all begin when the last is ready. Raises ChildError."""
        limit_s = OPENED_WITHIN_S + WARM_S + options.seconds
        with ExitStack() as stack:
            children = [stack.enter_context(self._started("path", options, limit_s)) for _ in range(count)]
            for child in children:
                child.wait_ready()
            for child in children:
                child.begin()
            return [child.figures() for child in children]

    @contextmanager
    def _started(self, name: str, options: Options, limit_s: float) -> Iterator[_Child]:
        command = [
            sys.executable,
            "-m",
            self._module,
            "--child",
            name,
            "--options",
            msgspec.json.encode(options).decode(),
        ]
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT
            )
            timer = threading.Timer(limit_s, process.kill)
            timer.start()
            try:
                with process:
                    yield _Child(name, process, log, timer)
            finally:
                timer.cancel()
                process.kill()


class _Child:
    def __init__(self, name: str, process: subprocess.Popen[str], log: IO[str], timer: threading.Timer) -> None:
        self._name, self._process, self._log, self._timer = name, process, log, timer

    def wait_ready(self) -> None:
        if self._line() != READY:
            raise self._fate()

    def begin(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError as exc:
            raise self._fate() from exc

    def figures(self) -> dict[str, Any]:
        line = self._line()
        if self._process.wait() != 0 or not line:
            raise self._fate()
        figures: dict[str, Any] = json.loads(line)
        return figures

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _fate(self) -> ChildError:
        code = self._process.wait()
        self._log.seek(0)
        last = (self._log.read().strip().splitlines() or ["it said nothing"])[-1]
        late = "was stopped, it took too long" if self._timer.finished.is_set() else f"ended with code {code}"
        return ChildError(f"{self._name}: {late}: {last}")
