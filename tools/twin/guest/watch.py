"""What the box says, as somebody outside hears it: its messages at a broker, its status file as often as it changes."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from edge import status
from edge.messages import Message, SignalChanged
from edge.status import CoreStatus
from edge.types import SignalState
from edge.uplink.config import UplinkConfig
from edge.uplink.consumer import Consumer, listening

POLL_S = 0.02
V = TypeVar("V")


class Heard(NamedTuple):
    message: Message
    at_ns: int  # CLOCK_MONOTONIC when it arrived


class Watch:
    """Everything heard since the start, in order. Written by two threads of its own, read by the scenario's."""

    def __init__(self, status_path: Path) -> None:
        self._path = status_path
        self._news = threading.Condition()
        self._over = threading.Event()
        self.messages: list[Heard] = []
        self.statuses: list[CoreStatus] = []

    @contextmanager
    def running(self) -> Iterator[Watch]:
        consumer = Consumer(UplinkConfig(host="127.0.0.1", port=1883), self._hear, client_id="twin-watch")
        thread = threading.Thread(target=self._read_statuses, name="statuses")
        thread.start()
        try:
            with listening(consumer, within_s=120):
                yield self
        finally:
            self._over.set()
            thread.join()

    def changes(self, since: int = 0) -> list[tuple[SignalChanged, int]]:
        """Signal events from the `since`-th message on, with the time of their arrival."""
        heard = self.messages[since:]
        return [(one.message.event, one.at_ns) for one in heard if isinstance(one.message.event, SignalChanged)]

    def wait_for(self, what: str, found: Callable[[], V | None], within_s: float) -> V:
        """The first answer of `found` that is not None; it is asked again after all that is heard. TimeoutError."""
        deadline = time.monotonic() + within_s
        with self._news:
            while True:
                answer = found()
                if answer is not None:
                    return answer
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError(f"not within {within_s:.0f} s: {what}")
                self._news.wait(min(left_s, POLL_S))

    def _hear(self, message: Message, received_ns: int, duplicate: bool) -> None:
        if not duplicate:
            with self._news:
                self.messages.append(Heard(message, received_ns))
                self._news.notify_all()

    def _read_statuses(self) -> None:
        """The file is replaced, never written in place: another inode or time means there is news."""
        seen = (0, 0)
        while not self._over.wait(POLL_S):
            try:
                now = self._path.stat()
            except OSError:
                continue
            if (now.st_ino, now.st_mtime_ns) == seen:
                continue
            read = status.read(self._path, CoreStatus)
            if read is not None:
                seen = (now.st_ino, now.st_mtime_ns)
                with self._news:
                    self.statuses.append(read)
                    self._news.notify_all()


def not_live(changes: list[tuple[SignalChanged, int]], until_ns: int) -> list[tuple[int, int]]:
    """When the signal was not live, by the box's own events: (from, to) in `captured_ns`."""
    spans, since = [], None
    for change, _ in changes:
        if change.state is SignalState.LIVE:
            if since is not None:
                spans.append((since, change.captured_ns))
            since = None
        elif since is None:
            since = change.captured_ns
    return [*spans, (since, until_ns)] if since is not None else spans


def looked_at_while_not_live(statuses: list[CoreStatus], spans: list[tuple[int, int]]) -> list[str]:
    """Frames that went to the model in those spans: whatever the counter rose between two statuses of one span."""
    wrong = []
    for before, after in itertools.pairwise(statuses):
        inside = any(start <= before.updated_ns and after.updated_ns <= end for start, end in spans)
        if inside and before.pid == after.pid and after.source.frames > before.source.frames:
            wrong.append(f"{after.source.frames - before.source.frames} frames while {after.state.value}")
    return wrong
