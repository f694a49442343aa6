"""The console's files: what is done is noted in the audit log, and somebody tries tokens at the gate."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from edge import audit
from edge.audit import Audit
from edge.clock import SystemClock
from edge.console import tokens
from edge.console.gate import LOCK_S, Gate, Tries
from edge.errors import AuditError, ConsoleError
from tools.faults.promises import Promises, promise

FILE_BYTES = 8192  # so that files are turned, and old ones go, many times a second
KEEP = 4
NO_TOKEN = "EET1.e30.e30"  # its form is right, its signature of nobody

T = TypeVar("T")


class Hurried(SystemClock):
    """Waits for nobody: it is put forward when a login has to wait."""

    def __init__(self, boot: str = "") -> None:
        super().__init__()
        self.boot = boot or self.boot
        self.ahead_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.ahead_ns


class Work:
    """Promises `line SEQ DIGEST`, and `tries UNTIL_NS`, which only grows."""

    pause_s = 0.02

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self._folder, self._dice, self._clock = folder / "console", dice, Hurried()
        if (known := _tries(self._folder)) is not None:  # of an earlier life
            self._clock.ahead_ns = max(0, known.until_ns - self._clock.now_ns())
        self._log = Audit(self._folder, self._clock, FILE_BYTES, KEEP)
        self._gate = _gate(self._folder, self._clock)
        with contextlib.suppress(ConsoleError):
            tokens.verified(NO_TOKEN, {})  # what it needs is imported now: the disk with the software is another one
        self.trouble = ""

    def step(self) -> None:
        try:
            self._log.note("A. Engineer", f"log {self._dice.randrange(10**9)}", "done")
        except AuditError as exc:
            self.trouble = str(exc)
        else:
            assert self._log.head is not None
            promise("line", *self._log.head)
            self.trouble = ""
        if self._dice.random() < 0.3:
            self._try_a_token()

    def _try_a_token(self) -> None:
        self._clock.ahead_ns += (LOCK_S + 1) * 1_000_000_000
        self._gate.challenge()
        with contextlib.suppress(ConsoleError):
            self._gate.admit(NO_TOKEN)
        if (tries := _insist(lambda: _tries(self._folder))) is not None:
            promise("tries", tries.until_ns)

    def settle(self) -> bool:
        self.step()
        return not self.trouble

    def close(self) -> None:
        self._log.close()


def check(folder: Path, promises: Promises) -> str:
    """On the machine's next start."""
    folder, clock = folder / "console", Hurried(boot="the next one")
    if promised := promises.said("tries"):
        tries = _tries(folder)
        if tries is None or tries.until_ns < int(promised[-1][0]):
            return "a failed login was forgotten"
        with contextlib.suppress(ConsoleError):
            _gate(folder, clock).challenge()
            return "the gate takes a token at once after a failed login"
    with contextlib.closing(Audit(folder, clock, FILE_BYTES, KEEP)) as log:
        log.note("-", "start", "afterwards")
    audit.verify(folder)
    found = _lines(folder)
    for seq, digest in promises.said("line"):
        if int(seq) >= min(found) and found.get(int(seq)) != digest:
            return f"line {seq} of the audit log is not there"
    return ""


def _lines(folder: Path) -> dict[int, str]:
    """Sequence number → digest."""
    lines = [line for file in audit.files(folder) for line in file.read_bytes().splitlines()]
    return {msgspec.json.decode(line, type=audit.Entry).seq: hashlib.sha256(line).hexdigest() for line in lines}


def _tries(folder: Path) -> Tries | None:
    try:
        return msgspec.json.decode((folder / "logins.json").read_bytes(), type=Tries)
    except FileNotFoundError:
        return None


def _insist(look: Callable[[], T]) -> T:
    """For our own look at a disk that is made to fail at random."""
    while True:
        with contextlib.suppress(OSError):
            return look()


def _gate(folder: Path, clock: Hurried) -> Gate:
    """No key fits here."""
    return Gate("box-1", dict, folder, clock, idle_s=600)
