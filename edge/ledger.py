"""Between the loop and the outbox: events that cannot be committed now are kept, and tried again.

A full disk is a state, not an exception: the loop goes on, the status file says what is wrong, and the first commit
that works takes everything that waited, in order. A damaged outbox is opened anew (which mends it), once a second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from edge.errors import OutboxError
from edge.status import Every
from edge.types import Alert, Event, Message

log = logging.getLogger(__name__)


class Store(Protocol):
    def put(self, events: Sequence[Event]) -> list[Message]: ...

    def close(self) -> None: ...


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
        try:
            if self._store is None:
                self._store = self._open_store()
            self._store.put(self._waiting)
        except OutboxError as exc:
            if not self.fault:
                log.error("%s; %d events are kept in memory until it works again", exc, len(self._waiting))
            self.fault = str(exc)
            self._retry.due()
            self._close()
            return
        if self.fault:
            log.warning("outbox works again, %d events that waited are committed", len(self._waiting))
        self.fault = ""
        self.events += len(self._waiting)
        self.alerts += sum(isinstance(event, Alert) for event in self._waiting)
        self._waiting = []

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            try:
                store.close()
            except OutboxError as exc:
                log.debug("closing a broken outbox: %s", exc)

    def close(self) -> None:
        self._close()
