"""The uplink's end of the outbox: what was delivered is deleted. A backlog stays, as behind a slow network."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from edge.errors import OutboxBrokenError, OutboxError
from edge.messages import Message
from edge.outbox import OutboxReader, Row
from tools.faults.promises import Promises, promise

BACKLOG = 40  # messages


class Work:
    """Says `gone NUMBER SEQ` before it deletes a message."""

    pause_s = 0.1

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self._path, self._dice = folder / "outbox.db", dice
        self._reader: OutboxReader | None = None
        self._delivered: list[Row] = []
        self.trouble = ""

    def step(self) -> None:
        try:
            self._deliver()
        except OutboxError as exc:
            self.trouble = str(exc)
            if isinstance(exc, OutboxBrokenError):
                self.close()
        else:
            self.trouble = ""

    def _deliver(self) -> None:
        if self._reader is None or self._reader.stale():
            self.close()
            self._reader = OutboxReader.open(self._path)
        if not self._delivered:
            waiting = self._reader.pending(BACKLOG + self._dice.randint(0, 30))
            self._delivered = waiting[: max(0, len(waiting) - BACKLOG)]
            for row in self._delivered:
                number = msgspec.json.decode(row.payload, type=Message).event.captured_ns
                promise("gone", number, row.seq)
        self._reader.delete([row.seq for row in self._delivered])
        self._delivered = []

    def settle(self) -> bool:
        self.step()
        return not self.trouble

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def check(folder: Path, promises: Promises) -> str:  # noqa: ARG001  (all of it is `core`'s)
    return ""
