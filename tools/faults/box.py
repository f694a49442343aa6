"""Those processes of the box that write to its disk, while something is done to that disk."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from tools.faults import ROOT, parts, promises
from tools.faults.process import DIED
from tools.faults.promises import Promises

PROCESSES = (("core", "spool", "engines"), ("uplink",), ("console",))
SETTLES_WITHIN_S = 20.0  # the ledger tries once a second
ANSWERS_WITHIN_S = 60.0


class LostError(Exception):
    """The box did not hold: what a round has to say."""


def verdict(round_of: Callable[..., None], *arguments: object) -> str:
    """What a round has to say: "" when nothing was lost in it."""
    try:
        round_of(*arguments)
    except LostError as exc:
        return str(exc)
    return ""


def rounds(
    round_in: Callable[[Path, random.Random], None], folder: Path, times: int, dice: random.Random
) -> Iterator[str]:
    """Each in a folder of its own, which stays when something was lost in it."""
    for number in range(times):
        home = folder / f"{number}"
        home.mkdir()
        wrong = verdict(round_in, home, dice)
        if not wrong:
            shutil.rmtree(home)
        yield wrong


class Box:
    """Started by `running`. Promises go to `home`, which is on another disk than `data`."""

    def __init__(self, data: Path, processes: list[_Process], logs: list[Path]) -> None:
        self._data, self._processes, self._logs = data, processes, logs

    def ask(self, *words: object) -> dict[str, str]:
        """All processes at once; what all parts say. LostError when one has died."""
        for process in self._processes:
            process.tell(" ".join(map(str, words)))
        return {part: said for process in self._processes for part, said in process.hear().items()}

    def settle(self) -> None:
        """The disk is well. LostError when something is still owed after a while."""
        deadline = time.monotonic() + SETTLES_WITHIN_S
        while owed := self.ask("settle"):
            if time.monotonic() > deadline:
                raise LostError(f"it does not go on when the disk is well again: {owed}")

    def end(self) -> None:
        """A clean stop, and everything that was promised is looked for."""
        self.ask("end")
        made = [line for log in self._logs for line in promises.read(log)]
        if wrong := parts.check(parts.NAMES, self._data, Promises(made, made)):
            raise LostError(wrong)


def _end(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"


@contextlib.contextmanager
def running(data: Path, home: Path, dice: random.Random, environment: Mapping[str, str] | None = None) -> Iterator[Box]:
    """In the folder `data`, made for it. They are gone when the block is left."""
    data.mkdir(exist_ok=True)
    processes: list[_Process] = []
    logs = [home / f"promises-{names[0]}" for names in PROCESSES]
    with contextlib.ExitStack() as stack:
        for names, log in zip(PROCESSES, logs, strict=True):
            seed = dice.randrange(1 << 30)
            processes.append(stack.enter_context(_started(names, data, seed, log, environment or {})))
        for process in processes:
            process.hear()
        yield Box(data, processes, logs)


@contextlib.contextmanager
def _started(
    names: tuple[str, ...], data: Path, seed: int, log: Path, environment: Mapping[str, str]
) -> Iterator[_Process]:
    ours, its = socket.socketpair()
    command = [sys.executable, "-m", "tools.faults.process", str(seed), str(data), *names]
    errors = log.with_name(f"errors-{names[0]}")
    with ours, its, log.open("wb") as out, errors.open("wb") as err:
        child = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdin=its.fileno(), stdout=out, stderr=err
        )
        its.close()
        ours.settimeout(ANSWERS_WITHIN_S)
        try:
            yield _Process(names[0], child, ours, errors)
        finally:
            child.kill()
            child.wait()


class _Process:
    def __init__(self, name: str, child: subprocess.Popen[bytes], line: socket.socket, errors: Path) -> None:
        self._name, self._child, self._line, self._errors = name, child, line, errors

    def tell(self, words: str) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # `hear` says so
            self._line.sendall(words.encode() + b"\n")

    def hear(self) -> dict[str, str]:
        said = b""
        while not said.endswith(b"\n"):
            try:
                piece = self._line.recv(65536)
            except TimeoutError:
                raise LostError(f"{self._name} hangs") from None
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise LostError(f"{self._name} has died: {_end(self._child.wait(ANSWERS_WITHIN_S))}")
            said += piece
        heard = msgspec.json.decode(said, type=dict[str, str])
        if DIED in heard:
            self._errors.write_text(heard[DIED])
            raise LostError(f"{self._name} has died: {heard[DIED].strip().splitlines()[-1]}")
        return heard
