"""Between the loop and the outbox: events that cannot be committed now are kept, and tried again.

A full disk is a state, not an exception: the loop goes on, the status file says what is wrong, and the first commit
that works takes everything that waited, in order. An outbox that is full stays open and is tried once a second; a
damaged one is opened anew, which mends it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from edge.errors import OutboxError, OutboxFullError
from edge.messages import Alert, Event, Message
from edge.status import Every

log = logging.getLogger(__name__)

BATCH = 256  # events in one transaction: a long wait must not need more room at once than there is


class Store(Protocol):
    def put(self, events: Sequence[Event]) -> list[Message]: ...

    def close(self) -> None: ...


class InMemory:
    """A store for events that nobody is to be told of. `events` keeps them in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, events: Sequence[Event]) -> list[Message]:
        self.events += events
        return []

    def close(self) -> None:
        """Nothing to close."""


class Ledger:
    """Owner: the core loop's thread. `open_store` raises OutboxError."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open_store = open_store
        self._store: Store | None = open_store()  # wrong from the start is an error, not a state
        self._waiting: list[Event] = []
        self._retry = Every()
        self.fault = ""
        self.events = self.alerts = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def put(self, events: Sequence[Event]) -> None:
        """Commit `events`, after those that waited. Costs nothing when there is neither."""
        if not self._waiting and not events:
            return
        if self._waiting and not self._retry.due():
            self._waiting.extend(events)
            return
        self._waiting.extend(events)
        self._commit()

    def flush(self) -> bool:
        """Try now, whatever the last answer was. False: some events are not safe."""
        if self._waiting:
            self._commit()
        return not self._waiting

    def _commit(self) -> None:
        had_fault = bool(self.fault)
        try:
            while self._waiting:
                self._commit_some(self._waiting[:BATCH])
        except OutboxFullError as exc:
            self._say(exc)  # stays open: the room it has reserved on the disk is its own
        except OutboxError as exc:
            self._say(exc)
            self._close()
        else:
            self.fault = ""
            if had_fault:
                log.warning("outbox works again: what waited is committed")

    def _commit_some(self, batch: list[Event]) -> None:
        if self._store is None:
            self._store = self._open_store()
        self._store.put(batch)
        self._waiting = self._waiting[len(batch) :]
        self.events += len(batch)
        self.alerts += sum(isinstance(event, Alert) for event in batch)

    def _say(self, exc: OutboxError) -> None:
        if not self.fault:
            log.error("%s; %d events are kept in memory until it works again", exc, len(self._waiting))
        self.fault = str(exc)
        self._retry.due()

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            try:
                store.close()
            except OutboxError as exc:
                log.debug("closing a broken outbox: %s", exc)

    def close(self) -> None:
        self._close()
