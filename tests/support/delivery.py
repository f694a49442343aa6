"""What the delivery tests share: an outbox to fill, an uplink in a thread, a consumer that remembers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from edge.messages import Alert, Event, Message, Priority
from edge.outbox import Outbox, OutboxReader
from edge.uplink import service
from edge.uplink.config import UplinkConfig
from edge.uplink.consumer import Consumer, listening
from edge.uplink.credentials import load
from edge.uplink.mqtt import Connected, Connection, Received, Subscribed
from edge.uplink.wire import UplinkStatus
from tests.support.waiting import wait_for

DEVICE = "box-1"
WITHIN_S = 20.0


def alert(number: int) -> Alert:
    """`captured_ns` is the number, so that a receiver can tell which one it has."""
    return Alert(kind="polyp", priority=Priority.HIGH, text="look", captured_ns=number, media_ns=number)


class Box:
    """The box's side: folder, outbox, uplink."""

    def __init__(self, folder: Path, port: int, **config: Any) -> None:
        self.outbox_path = folder / "outbox.db"
        self.status_path = folder / "uplink.json"
        self.notify = folder / "bell"
        fast = {"host": "127.0.0.1", "retry_min_s": 0.05, "retry_max_s": 0.2, "keepalive_s": 2}
        self.config = msgspec.convert({"port": port, **fast, **config}, UplinkConfig)

    @contextlib.contextmanager
    def outbox(self) -> Iterator[Outbox]:
        box = Outbox.open(self.outbox_path, DEVICE, 8 << 20, self.notify)
        try:
            yield box
        finally:
            box.close()

    def put(self, events: Sequence[Event]) -> list[Message]:
        with self.outbox() as outbox:
            return outbox.put(events)

    @contextlib.contextmanager
    def uplink(
        self,
        telemetry: Path | None = None,
        safe: Path | None = None,
        spool: Path | None = None,
        update: Path | None = None,
    ) -> Iterator[None]:
        """The uplink in a thread; what it raises is raised here."""
        stop, raised = threading.Event(), []

        def target() -> None:
            try:
                paths = (self.outbox_path, self.status_path, self.notify)
                service.run(
                    self.config,
                    DEVICE,
                    *paths,
                    stop,
                    telemetry_path=telemetry,
                    safe_path=safe,
                    spool_path=spool,
                    update_path=update,
                )
            except BaseException as exc:
                raised.append(exc)

        thread = threading.Thread(target=target, name="uplink")
        with mock.patch.multiple(service, TICK_S=0.05, STATUS_S=0.1):  # tests wait for the status file a lot
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()
        if raised:
            raise raised[0]

    def status(self) -> UplinkStatus | None:
        with contextlib.suppress(FileNotFoundError):
            return msgspec.json.decode(self.status_path.read_bytes(), type=UplinkStatus)
        return None

    def wait_status(
        self, condition: Callable[[UplinkStatus], Any], what: str, within_s: float = WITHIN_S
    ) -> UplinkStatus:
        """Until a status that fulfils `condition` was written."""
        found: list[UplinkStatus] = []

        def look() -> bool:
            status = self.status()
            if status is not None and condition(status):
                found.append(status)
            return bool(found)

        try:
            wait_for(look, what, within_s)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; last status: {self.status()}") from None
        return found[0]

    def depth(self) -> int:
        with contextlib.closing(OutboxReader.open(self.outbox_path)) as reader:
            return reader.depth()


class Inbox:
    """What a consumer received. Filled by the consumer's thread, read by the test's."""

    def __init__(self) -> None:
        self.messages: list[Message] = []  # first arrivals, in order
        self.duplicates = 0

    def take(self, message: Message, _received_ns: int, duplicate: bool) -> None:
        if duplicate:
            self.duplicates += 1
        else:
            self.messages.append(message)

    @property
    def numbers(self) -> list[int]:
        return [message.event.captured_ns for message in self.messages]

    def wait_numbers(self, expected: Sequence[int], within_s: float = WITHIN_S) -> None:
        """Until exactly these have arrived, in this order."""
        with contextlib.suppress(AssertionError):
            wait_for(lambda: len(self.messages) >= len(expected), "arrivals", within_s)
        assert self.numbers == list(expected)


@contextlib.contextmanager
def consumer(config: UplinkConfig, client_id: str = "ward", **options: Any) -> Iterator[Inbox]:
    """Subscribed on entry."""
    inbox = Inbox()
    with listening(Consumer(config, inbox.take, client_id=client_id, **options)):
        yield inbox


@contextlib.contextmanager
def watching(config: UplinkConfig, *topics: str) -> Iterator[list[Received]]:
    """Everything on these topics, as it comes; subscribed on entry. One connection: it does not survive the broker."""
    connection = Connection(config, load(config), "watcher")
    seen: list[Received] = []
    ready, stop = threading.Event(), threading.Event()

    def target() -> None:
        connection.open()
        while not stop.is_set():
            for event in connection.step(0.05):
                if isinstance(event, Connected):
                    connection.subscribe(topics)
                elif isinstance(event, Subscribed):
                    ready.set()
                elif isinstance(event, Received):
                    seen.append(event)
                    connection.settle(event)
        connection.close()

    thread = threading.Thread(target=target, name="watcher")
    thread.start()
    try:
        assert ready.wait(WITHIN_S)
        yield seen
    finally:
        stop.set()
        thread.join()
