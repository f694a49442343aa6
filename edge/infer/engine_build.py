"""An engine built beside a running service, and taken into use without a pause.

The build is a process of its own (`endoedge model build`), not a thread: it may use all the memory there is, be killed
for it, or fall into a driver's fault, and the old engine must go on serving. It runs at low priority. What it says
comes as values, which a bar on the console and events on MQTT are made of.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from edge.errors import EdgeError, InferenceError
from edge.types import Backend, Copies, Struct

NICE = 10
STOP_WITHIN_S = 3.0


class Begun(Struct, frozen=True, kw_only=True):
    """A build was asked for; the engine that serves goes on."""

    reason: str


class Step(Struct, frozen=True, kw_only=True, tag="engine_step"):
    """`done` of `total` steps of a phase that TensorRT names."""

    phase: str
    done: int
    total: int


class Done(Struct, frozen=True, kw_only=True, tag="engine_built"):
    """It is in the store, and gave the golden answers."""

    engine: str  # its key, for people
    seconds: float


class Failed(Struct, frozen=True, kw_only=True, tag="engine_failed"):
    reason: str


class Serving(Struct, frozen=True, kw_only=True):
    """The loop runs it from now on."""

    engine: str  # as of Done


Happening = Step | Done | Failed  # what a build says; Begun and Serving are said by who has it built
_LINES = msgspec.json.Decoder(Happening)


def line(happening: Happening) -> str:
    """How the building process tells it: one line on its standard output."""
    return msgspec.json.encode(happening).decode()


class Building:
    """A build under way. `poll` and `close` belong to one thread."""

    def __init__(self, command: Sequence[str]) -> None:
        """`command` prints `line(...)`s, the last a Done or a Failed. Raises InferenceError: it cannot start."""
        self._told: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        try:
            self._process = subprocess.Popen(
                ["nice", "-n", str(NICE), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C at the console is the service's to answer
            )
        except OSError as exc:
            raise InferenceError(f"an engine's build cannot be started: {exc}") from exc
        self._reader = threading.Thread(target=self._read, name="engine-build", daemon=True)
        self._reader.start()

    def poll(self) -> list[Happening]:
        """What was told since the last time. Never waits."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._told.get_nowait())
        return found

    def _read(self) -> None:
        """Until the process ends. One that ends without a last word was killed, and that is said."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        errors: list[bytes] = []
        drain = threading.Thread(target=lambda: errors.extend(self._process.stderr or ()), daemon=True)
        drain.start()
        finished = False
        for raw in self._process.stdout:
            with contextlib.suppress(msgspec.DecodeError):  # a library's own chatter
                happening = _LINES.decode(raw)
                finished = finished or not isinstance(happening, Step)
                self._told.put(happening)
        status = self._process.wait()
        drain.join()
        if not finished:
            last = errors[-1].decode(errors="replace").strip() if errors else "it said nothing"
            self._told.put(Failed(reason=f"the build ended with status {status}: {last}"))

    def close(self) -> None:
        """Stop it, if it still runs: the store keeps what it had."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 15)
            try:
                self._process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, 9)
        self._reader.join(STOP_WITHIN_S)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


class Renewing:
    """A `types.Backend` that serves with the engine it has while a better one is built, then changes over.

    The new one is opened, and run once, in a thread of its own; `poll` takes it, in the loop's thread. When the build
    cannot begin or fails, or the new one does not open, the old one stays, and that is told. Owner: the loop's thread.
    """

    def __init__(
        self, serving: Backend, start: Callable[[], Building], reopen: Callable[[], Backend], reason: str
    ) -> None:
        """`start` begins the build, for the `reason`; `reopen` opens what it made."""
        self.name, self.input, self.outputs = serving.name, serving.input, serving.outputs
        self._serving = serving
        self._copied_before = Copies()  # by engines that served earlier
        self._reopen = reopen
        self._told: list[Begun | Happening | Serving] = [Begun(reason=reason)]
        self._built = ""
        self._building: Building | None = None
        try:
            self._building = start()
        except InferenceError as exc:
            self._told.append(Failed(reason=str(exc)))
        self._opening: threading.Thread | None = None
        self._opened: queue.SimpleQueue[Backend | Failed] = queue.SimpleQueue()

    @property
    def copies(self) -> Copies:
        return self._copied_before + self._serving.copies

    def infer(self, image: Any) -> Mapping[str, Any]:
        return self._serving.infer(image)

    def poll(self) -> list[Begun | Happening | Serving]:
        """Between two frames: what became of it since the last time, done as it says. Never waits for the build."""
        if self._building is not None:
            self._look(self._building)
        told, self._told = self._told, []
        return told

    def _look(self, building: Building) -> None:
        for happening in building.poll():
            if isinstance(happening, Done):
                self._built = happening.engine
                self._opening = threading.Thread(target=self._open, name="engine-open", daemon=True)
                self._opening.start()
            if isinstance(happening, Failed):
                self._stop_building()
            self._told.append(happening)
        with contextlib.suppress(queue.Empty):
            new = self._opened.get_nowait()
            self._stop_building()
            if isinstance(new, Failed):
                self._told.append(new)
                return
            self._copied_before = self.copies
            old, self._serving = self._serving, new
            old.close()
            self._told.append(Serving(engine=self._built))

    def _open(self) -> None:
        try:
            self._opened.put(self._reopen())
        except EdgeError as exc:
            self._opened.put(Failed(reason=f"the new engine is not used: {exc}"))

    def _stop_building(self) -> None:
        building, self._building = self._building, None
        if building is not None:
            building.close()

    def close(self) -> None:
        self._stop_building()
        if self._opening is not None:
            self._opening.join()
            with contextlib.suppress(queue.Empty):
                late = self._opened.get_nowait()
                if not isinstance(late, Failed):
                    late.close()
        self._serving.close()
