"""Core's end of the outbox: alerts through the ledger, as the loop commits them."""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import time
from pathlib import Path

import msgspec

from edge.ledger import Ledger
from edge.messages import Alert, Message, Priority
from edge.outbox import Outbox, OutboxReader
from tools.faults.promises import Promises, promise

MAX_BYTES = 4 << 20


class Work:
    """Promises `put NUMBER` of each alert that is committed. Numbers grow; an alert carries its as `captured_ns`."""

    pause_s = 0.02

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self._dice = dice
        self._ledger = Ledger(lambda: opened(folder))
        self._owed: list[int] = []

    @property
    def trouble(self) -> str:
        return self._ledger.fault

    def step(self) -> None:
        numbers = [time.monotonic_ns() for _ in range(self._dice.randint(1, 3))]
        self._owed += numbers
        self._ledger.put([alert(number) for number in numbers])
        self._say()

    def settle(self) -> bool:
        safe = self._ledger.flush()
        self._say()
        return safe

    def close(self) -> None:
        self._ledger.close()

    def _say(self) -> None:
        committed = len(self._owed) - self._ledger.waiting
        for number in self._owed[:committed]:
            promise("put", number)
        self._owed = self._owed[committed:]


def check(folder: Path, promises: Promises) -> str:
    """Every alert that was committed is there once or was delivered, in its order, and the outbox goes on."""
    with contextlib.closing(opened(folder)) as outbox:
        if aside := list(folder.glob("outbox.db.corrupt-*")):
            return f"the outbox was taken for damaged: {aside[0].name}"
        (message,) = outbox.put([alert(time.monotonic_ns())])
    found = waiting(folder)
    numbers = [one.event.captured_ns for one in found]
    gone = {int(number): int(seq) for number, seq in promises.perhaps("gone")}
    for (number,) in promises.said("put"):
        if int(number) not in numbers and int(number) not in gone:
            return f"alert {number} was committed and is not there"
    if any(one >= other for one, other in itertools.pairwise(numbers)):
        return "alerts are there twice, or out of order"
    return "" if message.seq > max(gone.values(), default=0) else f"seq {message.seq} was given out again"


def waiting(folder: Path) -> list[Message]:
    """All that is in the outbox, oldest first."""
    with contextlib.closing(OutboxReader.open(folder / "outbox.db")) as reader:
        return [msgspec.json.decode(row.payload, type=Message) for row in reader.pending(sys.maxsize)]


def opened(folder: Path) -> Outbox:
    return Outbox.open(folder / "outbox.db", "box-1", MAX_BYTES)


def alert(number: int) -> Alert:
    return Alert(kind="polyp", priority=Priority.HIGH, text="look", captured_ns=number, media_ns=number)
