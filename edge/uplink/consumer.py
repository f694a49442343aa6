"""A reference consumer: what the hospital's side of the contract looks like. Used by `endoedge demo` and the tests."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

import msgspec

from edge import clock
from edge.errors import UplinkError
from edge.messages import Message
from edge.uplink import credentials
from edge.uplink.backoff import Backoff
from edge.uplink.config import UplinkConfig
from edge.uplink.mqtt import Connected, Connection, LinkDownError, Lost, Received, Subscribed
from edge.uplink.wire import ALERT, EVENT, Ack, Topics

log = logging.getLogger(__name__)

TICK_S = 0.25
_REMEMBERED = 100_000  # ids; a real consumer keeps them with its data, so that they survive its own restart

OnMessage = Callable[[Message, int, bool], None]
_decode = msgspec.json.Decoder(Message).decode


class Consumer:
    """Receives every alert and event of all boxes (or of one) at least once and marks repeats. Owner: `run`'s thread.

    The broker keeps the session (subscriptions and queue) for `session_expiry_s` after a lost connection. A message is
    settled, and acknowledged to the box where it asked for that, after `on_message` returned; if that raises, `run`
    raises and the broker will deliver the message again.
    """

    def __init__(
        self,
        config: UplinkConfig,
        on_message: OnMessage,
        *,
        client_id: str,
        device: str = "+",
        session_expiry_s: int = 3600,
    ) -> None:
        """`on_message(message, received_ns, duplicate)`; `received_ns` is CLOCK_MONOTONIC of this machine. `config`:
        broker and credentials count, delivery rules do not. Raises UplinkError (files)."""
        self._config, self._on_message, self._client_id = config, on_message, client_id
        self._who = credentials.load(config)
        self._topics = Topics(prefix=config.topic_prefix, device=device)
        self._session_expiry_s = session_expiry_s
        self._seen: OrderedDict[str, None] = OrderedDict()
        self.invalid = 0

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Receive until `stop`, reconnecting for ever. `ready` is set while subscribed."""
        backoff = Backoff(self._config.retry_min_s, self._config.retry_max_s)
        ready = ready or threading.Event()
        while not stop.is_set():
            connection = Connection(self._config, self._who, self._client_id, session_expiry_s=self._session_expiry_s)
            try:
                connection.open()
                self._receive(connection, stop, ready, backoff)
            except LinkDownError as exc:
                log.warning("%s", exc)
                clock.wait(stop, backoff.next(slowly=exc.fault.permanent))
            finally:
                ready.clear()
                connection.close()

    def _receive(self, connection: Connection, stop: threading.Event, ready: threading.Event, backoff: Backoff) -> None:
        """One connection, to its end. Raises LinkDownError."""
        while not stop.is_set():
            for event in connection.step(TICK_S):
                if isinstance(event, Connected):
                    connection.subscribe([self._topics.of(ALERT), self._topics.of(EVENT)])
                elif isinstance(event, Subscribed):
                    if event.refused:
                        raise LinkDownError(connection.broker.fault(f"subscribing: {event.refused[0]}", permanent=True))
                    backoff.reset()
                    ready.set()
                elif isinstance(event, Received):
                    self._handle(connection, event)
                elif isinstance(event, Lost):
                    raise LinkDownError(event.fault)

    def _handle(self, connection: Connection, event: Received) -> None:
        try:
            message = _decode(event.payload)
        except msgspec.DecodeError as exc:  # settle it: the broker would send it for ever
            self.invalid += 1
            log.error("%s: not a message: %s", event.topic, exc)
        else:
            duplicate = message.id in self._seen
            self._on_message(message, event.received_ns, duplicate)
            self._remember(message.id)
            self._acknowledge(connection, event, message)
        connection.settle(event)

    def _remember(self, id: str) -> None:
        self._seen[id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _acknowledge(self, connection: Connection, event: Received, message: Message) -> None:
        """Tell the box, if it asked, and only on its own topic: a message does not choose where we publish."""
        expected = Topics(prefix=self._config.topic_prefix, device=message.device).ack
        if event.response_topic == expected:
            ack = msgspec.json.encode(Ack(id=message.id, consumer=self._client_id))
            connection.publish(event.response_topic, ack, correlation=event.correlation)


@contextlib.contextmanager
def listening(consumer: Consumer, within_s: float = 10.0) -> Iterator[Consumer]:
    """Run the consumer in a thread of its own; it is subscribed on entry, and gone on exit. Raises UplinkError."""
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop, ready), name="consumer")
    thread.start()
    try:
        if not clock.wait(ready, within_s):
            raise UplinkError(f"consumer: not subscribed within {within_s:.0f} s")
        yield consumer
    finally:
        stop.set()
        thread.join()
