"""One MQTT 5 connection, driven by our own thread. The only file that knows paho.

paho runs no thread here: `step` selects on the socket and calls paho's loop functions, so a callback can neither kill
a hidden thread nor race with us. Callbacks only append to a list, which `step` returns. A `Connection` lives from
CONNECT to its end and is never reused, so paho's own memory of unsent messages (it resends them on reconnect, also
those that we sent again ourselves) dies with it: the outbox is the only truth.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.errors import UplinkError
from edge.types import Struct
from edge.uplink.config import UplinkConfig
from edge.uplink.credentials import Credentials
from edge.uplink.faults import Broker, Fault

CONNECT_TIMEOUT_S = 5.0  # TCP, then TLS, then CONNACK: each
# A broker that says nothing for this long is gone. paho pings after one keepalive and alone would wait for two.
_SILENCE, _SILENCE_MIN_S = 1.5, 2.0  # times the keepalive, and more than the keepalive by
_QOS = 1
_MAXIMUM_PACKET = 1 << 20  # nobody has a reason to send us more
_KEEP_ALIVE_TIMEOUT = 0x8D
_DEFAULT_RECEIVE_MAXIMUM = 65535  # MQTT 5's, for a broker that names none


class LinkDownError(UplinkError):
    """This attempt failed; `fault` says why and whether waiting helps."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


# What `step` can report, in the order in which it happened.


class Connected(Struct, frozen=True, kw_only=True):
    """CONNACK, with what the broker grants: unanswered publishes at once, seconds (0: no limit), highest QoS."""

    session_present: bool
    receive_maximum: int
    keepalive_s: int
    maximum_qos: int


class Subscribed(Struct, frozen=True, kw_only=True):
    """SUBACK. `refused`: names of the failure codes, empty when all topics were granted."""

    refused: tuple[str, ...]


class Answered(Struct, frozen=True, kw_only=True):
    """PUBACK. `code` is the reason code, `name` the specification's word for it."""

    mid: int
    code: int
    name: str


class Received(Struct, frozen=True, kw_only=True):
    """PUBLISH from the broker; `mid` is what `settle` wants. `received_ns`: CLOCK_MONOTONIC."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    retain: bool
    received_ns: int
    response_topic: str
    correlation: bytes


class Lost(Struct, frozen=True, kw_only=True):
    """The end of this connection; always the last report, and reported once."""

    fault: Fault


Happening = Connected | Subscribed | Answered | Received | Lost


class Will(Struct, frozen=True, kw_only=True):
    """What the broker publishes, retained, when we vanish."""

    topic: str
    payload: bytes


class Connection:
    """Owner: the thread that made it."""

    def __init__(
        self,
        config: UplinkConfig,
        credentials: Credentials,
        client_id: str,
        *,
        session_expiry_s: int = 0,
        will: Will | None = None,
    ) -> None:
        """`session_expiry_s` 0: a clean start, and the broker forgets us at the end (the uplink: its memory is the
        outbox). Otherwise the broker keeps our subscriptions and queues for that long (consumers)."""
        self._config = config
        self.broker = broker_of(config)
        self._session_expiry_s = session_expiry_s
        self._events: list[Happening] = []
        self._why: list[Fault] = []  # first entry: the reason of the end, from the broker or from us
        self._errors: list[str] = []  # what paho logged: the end in the words of the socket or of TLS
        self._unanswered: set[int] = set()
        self._receive_maximum = _DEFAULT_RECEIVE_MAXIMUM
        self._silence_s = CONNECT_TIMEOUT_S
        self._heard_s = time.monotonic()
        self._accepted = self._dropped = self._over = False
        self._client = self._make_client(credentials, client_id, will)

    def _make_client(self, credentials: Credentials, client_id: str, will: Will | None) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=paho.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(0)  # no queue inside paho: `credit` is the limit
        if credentials.username:
            client.username_pw_set(credentials.username, credentials.password or None)
        if credentials.tls:
            client.tls_set_context(credentials.tls)
        if will:
            client.will_set(will.topic, will.payload, qos=_QOS, retain=True)
        reports = _Reports(self._events, self._why, self._errors)
        _report_to(client, reports, self.broker, self._config.keepalive_s)
        return client

    def open(self) -> None:
        """Connect TCP and TLS and send CONNECT; blocks for twice CONNECT_TIMEOUT_S at most (and for DNS).
        Raises LinkDownError. `Connected` or `Lost` follows from `step`."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._session_expiry_s
        properties.MaximumPacketSize = _MAXIMUM_PACKET
        try:
            self._client.connect(
                self._config.host,
                self._config.port,
                self._config.keepalive_s,
                clean_start=self._session_expiry_s == 0,
                properties=properties,
            )
        except (OSError, UnicodeError) as exc:
            raise LinkDownError(self.broker.unreachable(exc)) from exc
        self._heard_s = time.monotonic()

    def step(self, timeout_s: float, wake: Sequence[socket.socket] = ()) -> list[Happening]:
        """Read, write, keep alive; waits at most `timeout_s`, or until `wake` is readable. Never raises for anything
        that the broker or the network does."""
        if not self._gone():
            self._wait(timeout_s, wake)
        events = self._events.copy()
        self._events.clear()
        for event in events:
            self._note(event)
        if not self._gone():
            self._listen()
        if self._gone() and not self._over:
            self._over = True
            fault = self._why[0] if self._why else self.broker.ended(self._errors, accepted=self._accepted)
            events.append(Lost(fault=fault))
        return events

    def _gone(self) -> bool:
        return self._dropped or self._client.socket() is None

    def _wait(self, timeout_s: float, wake: Sequence[socket.socket]) -> None:
        sock: Any = self._client.socket()
        readable, writable, _ = select.select([sock, *wake], [sock] if self._client.want_write() else [], [], timeout_s)
        try:
            if sock in readable:
                self._heard_s = time.monotonic()
                self._client.loop_read()
                while _decrypted(self._client.socket()):  # select cannot see what TLS has read ahead
                    self._client.loop_read()
            if writable:
                self._client.loop_write()
            self._client.loop_misc()
        except Exception as exc:  # paho tripped over the broker's bytes: this connection is over, we are not
            self._fail(self.broker.fault(f"it sent something that is not MQTT 5 ({exc})", permanent=True))

    def _listen(self) -> None:
        """A broker that is frozen, or too busy, keeps the socket open and says nothing."""
        if time.monotonic() - self._heard_s > self._silence_s:
            self._fail(self.broker.silent())

    def _note(self, event: Happening) -> None:
        if isinstance(event, Connected):
            self._accepted = True
            self._receive_maximum = event.receive_maximum
            keepalive_s = event.keepalive_s or math.inf
            self._silence_s = max(_SILENCE * keepalive_s, keepalive_s + _SILENCE_MIN_S)
            if event.maximum_qos < _QOS:
                self._fail(self.broker.refused(0x9B, "QoS not supported"))
        elif isinstance(event, Answered):
            self._unanswered.discard(event.mid)

    def _fail(self, fault: Fault) -> None:
        """End it from our side, without a goodbye: the broker publishes our will."""
        self._why.insert(0, fault)
        self._dropped = True
        self._close_socket()

    def _close_socket(self) -> None:
        if sock := self._client.socket():
            sock.close()

    def credit(self) -> int:
        """How many more QoS 1 publishes the broker takes before it answers one (its Receive Maximum)."""
        return max(0, self._receive_maximum - len(self._unanswered))

    def idle(self) -> bool:
        """The broker owes us no answer."""
        return not self._unanswered

    def congested(self) -> bool:
        """The socket does not take what is queued already: droppable things should be dropped."""
        return self._client.want_write()

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = _QOS,
        retain: bool = False,
        response_topic: str = "",
        correlation: bytes = b"",
    ) -> int:
        """Queue and, if the socket takes it, send. Returns the packet id. Only a later `Answered` says what became
        of it: paho's own return code and MQTTMessageInfo say success for refused messages too."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.PayloadFormatIndicator = 1
        properties.ContentType = "application/json"
        if response_topic:
            properties.ResponseTopic = response_topic
        if correlation:
            properties.CorrelationData = correlation
        info = self._client.publish(topic, payload, qos, retain, properties)
        if qos:
            self._unanswered.add(info.mid)
        return info.mid

    def subscribe(self, topics: Sequence[str]) -> None:
        """QoS 1, one packet for all. `Subscribed` follows."""
        self._client.subscribe([(topic, _QOS) for topic in topics])

    def settle(self, event: Received) -> None:
        """PUBACK a received message, after it was handled: until then the broker would send it again."""
        if event.qos:
            self._client.ack(event.mid, event.qos)

    def drop(self, fault: Fault) -> None:
        """Give this connection up for a reason that only the caller can see; `step` reports it as `Lost`."""
        self._fail(fault)

    def close(self) -> None:
        """Say goodbye if the socket takes it (no will then) and let go of the socket."""
        if not self._gone():
            with contextlib.suppress(OSError):
                self._client.disconnect()
            self._dropped = True
            self._close_socket()


def broker_of(config: UplinkConfig) -> Broker:
    tls = config.tls
    return Broker(host=config.host, port=config.port, ca=tls.ca if tls else "", cert=tls.cert if tls else "")


def _decrypted(sock: Any) -> bool:
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


class _Reports(NamedTuple):
    """A connection's lists, for the callbacks to append to."""

    events: list[Happening]
    why: list[Fault]
    errors: list[str]


def _report_to(client: paho.Client, reports: _Reports, broker: Broker, keepalive_s: int) -> None:
    """Callbacks that only append. They hold no `Connection`, so that one dies, and closes, with its last reference."""

    events, why, errors = reports

    def on_connect(
        _client: Any, _data: Any, flags: paho.ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            why.append(broker.refused(reason.value, reason.getName()))
            return
        events.append(
            Connected(
                session_present=flags.session_present,
                receive_maximum=getattr(properties, "ReceiveMaximum", _DEFAULT_RECEIVE_MAXIMUM),
                keepalive_s=getattr(properties, "ServerKeepAlive", keepalive_s),
                maximum_qos=getattr(properties, "MaximumQoS", 2),
            )
        )

    def on_disconnect(_client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            why.append(broker.refused(reason.value, reason.getName()))
        elif reason.value == _KEEP_ALIVE_TIMEOUT:  # with a short keepalive paho can be quicker than `_listen`
            why.append(broker.silent())

    def on_log(_client: Any, _data: Any, level: int, text: str) -> None:
        if level == paho.MQTT_LOG_ERR:  # the only place where paho names the TLS or socket error of a read or write
            errors.append(text.partition(": ")[2] or text)

    def on_publish(_client: Any, _data: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        events.append(Answered(mid=mid, code=reason.value, name=reason.getName()))

    def on_subscribe(_client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        events.append(Subscribed(refused=tuple(reason.getName() for reason in reasons if reason.is_failure)))

    def on_message(_client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        properties = message.properties
        events.append(
            Received(
                topic=message.topic,
                payload=bytes(message.payload),
                mid=message.mid,
                qos=message.qos,
                retain=message.retain,
                received_ns=time.monotonic_ns(),
                response_topic=getattr(properties, "ResponseTopic", ""),
                correlation=getattr(properties, "CorrelationData", b""),
            )
        )

    client.on_connect, client.on_disconnect, client.on_log = on_connect, on_disconnect, on_log
    client.on_publish, client.on_subscribe, client.on_message = on_publish, on_subscribe, on_message
