"""The power goes while core commits alerts and uplink deletes what it has delivered."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edge.errors import OutboxError, OutboxFullError
from edge.messages import Alert, Message, Priority
from edge.outbox import Outbox, OutboxReader
from tools.faults import mounts, power
from tools.faults.power import Promises
from tools.faults.writer import promise

TITLE = "power cut on the outbox"
PROMISE = "every committed alert is there or was delivered, the outbox opens, sequence numbers go on upwards"
TIMES = 200

MAX_BYTES = 4 << 20
BACKLOG = 40  # messages that stay


def missing() -> str:
    return mounts.missing()


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    return power.play(SCENE, folder, times, dice)


def control(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    return power.play(SCENE, folder, times, dice, careless=True)


def core(folder: Path, dice: random.Random) -> None:
    """Promises `put ID SEQ NUMBER` of each message."""
    outbox = _opened(folder)
    while True:
        count = dice.randint(1, 3)
        with contextlib.suppress(OutboxFullError):  # the other one kept its turn for long
            for message in outbox.put([_alert(dice.randrange(1 << 53)) for _ in range(count)]):
                promise("put", message.id, message.seq, message.event.captured_ns)
        time.sleep(dice.uniform(0, 0.02))


def uplink(folder: Path, dice: random.Random) -> None:
    """Says `gone SEQ` before it deletes a message."""
    reader = None
    while True:
        with contextlib.suppress(OutboxError):  # not there yet, or the other one's turn
            reader = reader or OutboxReader.open(folder / "outbox.db")
            waiting = reader.pending(BACKLOG * 2)
            delivered = [row.seq for row in waiting[: max(0, len(waiting) - BACKLOG)]]
            for seq in delivered:
                promise("gone", seq)
            reader.delete(delivered)
        time.sleep(dice.uniform(0, 0.1))


def check(folder: Path, promises: Promises) -> str:
    """Of the copy."""
    with contextlib.closing(_opened(folder)) as outbox:
        if aside := list(folder.glob("outbox.db.corrupt-*")):
            return f"was taken for damaged: {aside[0].name}"
        found = _found(folder)
        gone = {int(seq) for (seq,) in promises.perhaps("gone")}
        last = 0
        for id, seq, number in promises.said("put"):
            last = max(last, int(seq))
            if found.get(id) != (int(seq), int(number)) and int(seq) not in gone:
                return f"alert {id} (seq {seq}) was committed and is not there"
        (message,) = outbox.put([_alert(1)])
        return "" if message.seq > last else f"seq {message.seq} was given out again"


def _found(folder: Path) -> dict[str, tuple[int, int]]:
    with contextlib.closing(OutboxReader.open(folder / "outbox.db")) as reader:
        rows = reader.pending(sys.maxsize)
    messages = [msgspec.json.decode(row.payload, type=Message) for row in rows]
    return {message.id: (message.seq, message.event.captured_ns) for message in messages}


def _opened(folder: Path) -> Outbox:
    return Outbox.open(folder / "outbox.db", "box-1", MAX_BYTES)


def _alert(number: int) -> Alert:
    return Alert(kind="polyp", priority=Priority.HIGH, text="look", captured_ns=number, media_ns=number)


SCENE = power.Scene((core, uplink), check)
