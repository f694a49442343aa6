"""What changes, told to pages that are open: one thread looks at the database, every stream gets what it found.

A stream that does not keep up is closed, and its page loads anew when it comes back: nothing waits for a slow reader.
The thread runs while somebody listens, and ends with `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator

from sqlalchemy import Connection

from edge.types import Struct
from server import listing
from server.errors import ServerError
from server.listing import Box, Entry
from server.store.database import Database

log = logging.getLogger(__name__)
LOOK_S = 1.0
BEAT_S = 15.0  # a stream says that it lives, and looks whether its reader may still read
WAITING_MOST = 64  # events of one stream
ROWS = 100  # that are looked at; more than come or change between two looks
BOXES_MOST = 200
_BOXES_EVERY = 5  # looks


class Event(Struct, frozen=True, kw_only=True):
    name: str  # rows, report, boxes
    data: str
    of: tuple[str, str] = ("", "")  # the procedure that it is about


Show = Callable[[list[Entry] | list[Box]], list[Event]]


class Stream:
    """Of one page. Owned by its event loop; only `tell` and `end` may be called from elsewhere."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[Event | None] = asyncio.Queue(WAITING_MOST)

    def tell(self, events: list[Event]) -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(self._put, events)

    def end(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._close)

    async def events(self) -> AsyncIterator[Event | None]:
        """None: a while without one."""
        while True:
            try:
                event = await asyncio.wait_for(self._waiting.get(), BEAT_S)
            except (TimeoutError, asyncio.TimeoutError):
                yield None
                continue
            if event is None:
                return
            yield event

    def _put(self, events: list[Event]) -> None:
        try:
            for event in events:
                self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self._close()

    def _close(self) -> None:
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)


class Live:
    """One a process. `show`: rows or boxes that are new → what streams are told."""

    def __init__(self, database: Database, show: Show) -> None:
        self._database, self._show = database, show
        self._streams: set[Stream] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    @contextlib.contextmanager
    def stream(self) -> Iterator[Stream]:
        made = Stream()
        with self._lock:
            self._streams.add(made)
            if self._ended.is_set():
                made.end()
            elif self._thread is None:
                self._thread = threading.Thread(target=self._look, name="live", daemon=True)
                self._thread.start()
        try:
            yield made
        finally:
            with self._lock:
                self._streams.discard(made)

    def close(self) -> None:
        """Every stream ends. Harmless twice."""
        self._ended.set()
        with self._lock:
            for stream in self._streams:
                stream.end()

    @property
    def streams(self) -> int:
        return len(self._streams)

    def _look(self) -> None:
        known: dict[object, object] | None = None
        boxes: list[Box] | None = None
        failed, turn = False, 0
        while not self._ended.wait(LOOK_S if known is not None else 0):
            with self._lock:
                if not self._streams:
                    self._thread = None
                    return
            try:
                with self._database.read() as connection:
                    known, new = _rows(connection, known)
                    boxes, seen = _boxes(connection, boxes) if turn % _BOXES_EVERY == 0 else (boxes, [])
                failed = False
            except ServerError as exc:
                if not failed:
                    log.error("live: %s", exc)
                failed, known = True, known or {}
                continue
            turn += 1
            told = [*(self._show(new) if new else ()), *(self._show(seen) if seen else ())]
            if told:
                with self._lock:
                    for stream in self._streams:
                        stream.tell(told)


def _rows(connection: Connection, known: dict[object, object] | None) -> tuple[dict[object, object], list[Entry]]:
    """Those that came or changed since the last look, oldest first. The first look finds none."""
    found = listing.touched(connection, ROWS)
    now: dict[object, object] = {entry.key[:2]: entry for entry in found}
    if known is None:
        return now, []
    return now, [entry for entry in reversed(found) if known.get(entry.key[:2]) != entry]


def _boxes(connection: Connection, known: list[Box] | None) -> tuple[list[Box], list[Box]]:
    """All of them when one was seen anew."""
    found = listing.seen_boxes(connection, BOXES_MOST)
    return found, found if known is not None and found != known else []
