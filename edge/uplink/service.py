"""The uplink's loop: outbox → lanes → broker. One thread; its own process in the field, a thread in a test."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge import clock
from edge.errors import OutboxBrokenError, OutboxError, UplinkError
from edge.history import History
from edge.outbox import CHANNELS, OutboxReader
from edge.uplink import credentials
from edge.uplink.backoff import Backoff
from edge.uplink.config import Name, UplinkConfig
from edge.uplink.delivery import Lane, Rules
from edge.uplink.faults import Fault
from edge.uplink.local import Bell, alone
from edge.uplink.mqtt import Answered, Connected, Connection, Happening, LinkDownError, Lost, Received, Subscribed, Will
from edge.uplink.people import People, open_exporter
from edge.uplink.push import open_push
from edge.uplink.reports import open_reports
from edge.uplink.retained import Updates, birth
from edge.uplink.wire import Topics, UplinkStatus

log = logging.getLogger(__name__)

TICK_S = 0.25  # the longest wait without a ring: outbox, time-outs, retries and `stop` are looked at this often
STATUS_S = 1.0
FAREWELL_S = 1.0
ANSWER_S = 30.0  # a broker that pings but owes a PUBACK for this long has lost its mind: start over
STEADY_S = 10.0  # a connection that lasted this long makes the next attempt an early one
SHORT_LIVES = 3  # so many connections in a row that did not last are no accident
NOT_YET = Fault(text="not connected yet")


def run(
    config: UplinkConfig,
    device: str,
    outbox_path: Path,
    status_path: Path,
    notify_socket: Path,
    stop: threading.Event,
    telemetry_path: Path | None = None,
    safe_path: Path | None = None,
    spool_path: Path | None = None,
    update_path: Path | None = None,
) -> None:
    """Deliver until `stop` is set (noticed within TICK_S, or a connection attempt's time-out).

    `status_path`: written once a second (`wire.UplinkStatus`). `telemetry_path`: core's status file, forwarded as
    telemetry. `safe_path`: there while the box is in its safe state, which is then part of our own. `spool_path`:
    where core keeps procedures' records, for `[uplink.reports]`. `update_path`: what the updater says of itself.
    Whatever broker, network, report server or outbox do is retried for ever and shown in the status file. Raises
    UplinkError at once for what retrying cannot mend: files of `[uplink]`, device id, lock, socket.
    """
    try:
        msgspec.convert(device, Name)
    except msgspec.ValidationError as exc:
        raise UplinkError(f"device {device!r}: must be 1 to 64 of A-Z a-z 0-9 _ . -, it is part of topics") from exc
    credentials.load(config)
    with alone(outbox_path), contextlib.closing(Bell(notify_socket)) as bell:
        exporter = open_exporter(config.metrics, outbox_path.parent)
        push = open_push(config, device, exporter.text if exporter else None)
        reports = open_reports(config.reports, spool_path)
        people = People(
            status_path, telemetry_path, safe_path, config.retry_max_s, exporter, push, reports, update_path
        )
        uplink = _Uplink(config, device, outbox_path, people, bell)
        try:
            while not stop.is_set():
                uplink.turn()
            uplink.farewell()
        finally:
            uplink.close()
            people.close()


class _Uplink:
    """Everything that lasts longer than one connection. Owner: the thread in `run`."""

    def __init__(self, config: UplinkConfig, device: str, outbox_path: Path, people: People, bell: Bell) -> None:
        self._config, self._device, self._bell = config, device, bell
        self._outbox_path, self._people = outbox_path, people
        self._confirm = config.confirm == "subscriber"
        rules = Rules(config.window, config.require_subscriber, config.confirm_timeout_s if self._confirm else None)
        self._lanes = {name: Lane(rules, Backoff(config.retry_min_s, config.retry_max_s)) for name in CHANNELS}
        self._topics = Topics(prefix=config.topic_prefix, device=device)
        self._backoff = Backoff(config.retry_min_s, config.retry_max_s)
        self._reader: OutboxReader | None = None
        self._connection: Connection | None = None
        self._ready = False  # connected, and subscribed to acknowledgements where they are wanted
        self._connect_at_s = self._report_at_s = self._telemetry_at_s = self._read_at_s = self._up_s = 0.0
        self._retained: dict[int, str] = {}  # packet id → topic of what is to be kept and was not answered yet
        self._updates = Updates(device)
        self._link_fault: Fault | None = NOT_YET  # None: connected
        self._flapping: Fault | None = None  # outlasts a connection that may not last
        self._short_lives = 0
        self._logged_fault = ""  # one that comes again and again is one line
        self._waiting: dict[str, str] = {}  # topic or file → what holds it up; each change is one line in the log
        self._delivered = self._attempts = self._connects = self._telemetry_dropped = 0
        self._history = History(people.earlier_troubles(), time.monotonic_ns())
        self._safe = people.safe()  # as the broker knows it, while there is a connection
        self._handlers: dict[type[Happening], Callable[[Any], None]] = {
            Connected: self._on_connected,
            Subscribed: self._on_subscribed,
            Answered: self._on_answered,
            Received: self._on_received,
            Lost: self._on_lost,
        }

    def turn(self) -> None:
        """Wait for something (at most TICK_S), then do all that it allows."""
        self._open_outbox()
        self._connect()
        self._listen(TICK_S)
        self._watch()
        self._forget()
        self._send()
        self._report()

    def farewell(self) -> None:
        """A clean stop: take what is still answered, leave `online: false` behind."""
        if self._connection is None or not self._ready:
            return
        self._publish_state(self._connection, online=False, reason="stopped")
        until_s = time.monotonic() + FAREWELL_S
        while self._connection is not None and not self._connection.idle() and time.monotonic() < until_s:
            self._listen(0.05)
        self._forget()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._drop_reader()

    # ---------------------------------------------------------------------------------------- broker

    def _connect(self) -> None:
        if self._connection is not None or time.monotonic() < self._connect_at_s:
            return
        self._attempts += 1
        will = Will(topic=self._topics.state, payload=birth(self._device, online=False, reason="lost", safe=self._safe))
        try:
            who = credentials.load(self._config)  # each time: somebody may have renewed them
            self._connection = Connection(self._config, who, self._config.client_id or self._device, will=will)
            self._connection.open()
        except LinkDownError as exc:
            self._on_lost(Lost(fault=exc.fault))
        except UplinkError as exc:
            self._on_lost(Lost(fault=Fault(text=str(exc), permanent=True)))

    def _listen(self, timeout_s: float) -> None:
        if self._connection is None:
            self._bell.wait(timeout_s)
        else:
            for event in self._connection.step(timeout_s, [self._bell.socket]):
                self._handlers[type(event)](event)
        self._bell.hush()

    def _on_connected(self, _event: Connected) -> None:
        assert self._connection is not None
        if self._flapping is None:
            log.info("connected to broker %s:%d", self._config.host, self._config.port)
            self._logged_fault = ""
        self._link_fault = None
        self._connects += 1
        self._up_s = time.monotonic()
        self._retained.clear()
        self._updates.connected(self._up_s)
        self._publish_state(self._connection, online=True, reason="connected")
        for lane in self._lanes.values():
            lane.restart()
        if self._confirm:
            self._connection.subscribe([self._topics.ack])
        else:
            self._ready = True

    def _on_subscribed(self, event: Subscribed) -> None:
        assert self._connection is not None
        if event.refused:
            text = f"it does not let us read {self._topics.ack} ({event.refused[0]}): correct its access rules"
            self._connection.drop(self._connection.broker.fault(text, permanent=True))
        else:
            self._ready = True

    def _on_answered(self, event: Answered) -> None:
        for lane in self._lanes.values():
            lane.answered(event.mid, event.code, event.name, time.monotonic())
        if topic := self._retained.pop(event.mid, ""):
            self._note(topic, f"the broker refuses it: {event.name}" if event.code >= 0x80 else "")

    def _on_received(self, event: Received) -> None:
        """Only `/ack` is subscribed to: a consumer has handled the message that the correlation data names."""
        for lane in self._lanes.values():
            lane.acknowledged(event.correlation.decode("ascii", "replace"))
        if self._connection is not None:
            self._connection.settle(event)

    def _on_lost(self, event: Lost) -> None:
        now_s = time.monotonic()
        if self._link_fault is None:  # we were connected, since the last `_watch` not for long
            self._short_lives += 1
        else:  # not even let in: what was before is explained by whatever stops us now
            self._flapping, self._short_lives = None, 0
        fault = event.fault
        if self._connection is not None:
            if self._short_lives >= SHORT_LIVES and not fault.permanent:
                self._flapping = fault = self._connection.broker.flapping()
            self._connection.close()
        self._connection, self._ready, self._link_fault = None, False, fault
        self._connect_at_s = now_s + self._backoff.next(slowly=fault.permanent)
        if fault.text != self._logged_fault:
            self._logged_fault = fault.text
            log.log(logging.ERROR if fault.permanent else logging.WARNING, "%s", fault.text)

    def _publish_state(self, connection: Connection, *, online: bool, reason: str) -> None:
        self._keep(connection, self._topics.state, birth(self._device, online=online, reason=reason, safe=self._safe))

    def _publish_update(self, connection: Connection) -> None:
        """As far as the broker takes it now; what it has no room for is as new in a second."""
        if connection.credit() and (payload := self._updates.due(self._people.update(), time.monotonic())) is not None:
            self._keep(connection, self._topics.update, payload)

    def _keep(self, connection: Connection, topic: str, payload: bytes) -> None:
        self._retained[connection.publish(topic, payload, retain=True)] = topic

    # ---------------------------------------------------------------------------------------- outbox

    def _open_outbox(self) -> None:
        """Open it when it appears, and again when core has replaced a damaged one."""
        if self._reader is not None and self._reader.stale():
            self._drop_reader()
        if self._reader is not None or time.monotonic() < self._read_at_s:
            return
        try:
            self._reader = OutboxReader.open(self._outbox_path)
        except OutboxError as exc:
            self._outbox_failed(exc)
        else:
            self._note("outbox", "")
            for lane in self._lanes.values():
                lane.restart()

    def _outbox_failed(self, exc: OutboxError) -> None:
        self._note("outbox", str(exc))
        self._read_at_s = time.monotonic() + STATUS_S
        if isinstance(exc, OutboxBrokenError):
            self._drop_reader()

    def _drop_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def _watch(self) -> None:
        now_s = time.monotonic()
        if self._link_fault is None and now_s - self._up_s > STEADY_S:
            self._flapping, self._short_lives = None, 0
            self._backoff.reset()
        for name, lane in self._lanes.items():
            lane.tick(now_s)
            self._note(self._topics.of(name), lane.trouble)
            if self._connection is not None and lane.unanswered_s(now_s) > ANSWER_S:
                text = f"it answers pings, but has not acknowledged a message for {ANSWER_S:.0f} s"
                self._connection.drop(self._connection.broker.fault(text))

    def _forget(self) -> None:
        """Delete what is delivered. What cannot be deleted now (a full disk) is not sent again meanwhile."""
        done = [seq for lane in self._lanes.values() for seq in lane.done]
        if not done or self._reader is None or time.monotonic() < self._read_at_s:
            return
        try:
            self._reader.delete(done)
        except OutboxError as exc:
            self._outbox_failed(exc)
            return
        self._note("outbox", "")
        self._delivered += len(done)
        for lane in self._lanes.values():
            lane.done.clear()

    def _send(self) -> None:
        if self._connection is None or self._reader is None or not self._ready:
            return
        try:
            for name, lane in self._lanes.items():
                self._send_lane(self._connection, self._reader, name, lane)
        except OutboxError as exc:
            self._outbox_failed(exc)

    def _send_lane(self, connection: Connection, reader: OutboxReader, name: str, lane: Lane) -> None:
        now_s = time.monotonic()
        room = min(lane.room(now_s), connection.credit())
        response_topic = self._topics.ack if self._confirm else ""
        for row in reader.pending(room + len(lane.done), lane.cursor, name) if room else ():
            if row.seq in lane.done:
                lane.cursor = row.seq
                continue
            if not room:
                break
            room -= 1
            mid = connection.publish(
                self._topics.of(name), row.payload, response_topic=response_topic, correlation=row.id.encode()
            )
            lane.sending(row.seq, row.id, mid, now_s)

    # ---------------------------------------------------------------------------------------- people

    def _note(self, what: str, trouble: str) -> None:
        """Remember what holds `what` up; a change is one line in the log."""
        if trouble == self._waiting.get(what, ""):
            return
        if trouble:
            self._waiting[what] = trouble
            log.warning("%s: %s", what, trouble)
        else:
            del self._waiting[what]
            log.info("%s: moves again", what)

    def _report(self) -> None:
        now_s = time.monotonic()
        telemetry_due = self._connection is not None and self._ready and now_s >= self._telemetry_at_s
        if now_s < self._report_at_s and not telemetry_due:
            return
        safe, self._safe = self._safe, self._people.safe()
        if safe != self._safe and self._connection is not None and self._link_fault is None:
            self._publish_state(self._connection, online=True, reason="connected")
        if self._connection is not None and self._ready:
            self._publish_update(self._connection)
        status = self._status()
        if now_s >= self._report_at_s:
            self._report_at_s = now_s + STATUS_S
            self._note("status file", self._people.tell(status, self._attempts))
        if telemetry_due and self._connection is not None:
            self._telemetry_at_s = now_s + self._config.telemetry_s
            self._publish_telemetry(self._connection, status)

    def _publish_telemetry(self, connection: Connection, status: UplinkStatus) -> None:
        """QoS 0, and not at all while the socket is full: alerts need the room."""
        if connection.congested():
            self._telemetry_dropped += 1
            return
        connection.publish(self._topics.telemetry, self._people.telemetry(status), qos=0)

    def _status(self) -> UplinkStatus:
        now = clock.moment()
        depth, oldest_age_s = self._backlog(now)
        lanes = self._lanes.values()
        fault = self._link_fault or self._flapping
        broker = fault.text if fault and fault is not NOT_YET else ""
        reports = self._people.reports(busy=depth > 0 and self._link_fault is None)
        wrong = {"broker": broker} | self._waiting | ({"reports": reports.fault} if reports else {})
        self._history.step(wrong, time.monotonic_ns())
        return UplinkStatus(
            device=self._device,
            broker=f"{self._config.host}:{self._config.port}",
            pid=os.getpid(),
            updated_at=str(now.wall),
            updated_ns=now.ns,
            clock=now.wall.status,
            connected=self._link_fault is None,
            last_error=fault.text if fault else next((f"{k}: {v}" for k, v in self._waiting.items()), ""),
            permanent=fault.permanent if fault else False,
            waiting=dict(self._waiting),
            depth=depth,
            oldest_age_s=oldest_age_s,
            connects=self._connects,
            sent=sum(lane.sent for lane in lanes),
            republished=sum(lane.republished for lane in lanes),
            delivered=self._delivered,
            no_subscriber=sum(lane.no_subscriber for lane in lanes),
            refused=sum(lane.refused for lane in lanes),
            telemetry_dropped=self._telemetry_dropped,
            safe=self._safe,
            troubles=self._history.troubles,
            metrics_push=self._people.push_fault(),
            reports=reports,
        )

    def _backlog(self, now: clock.Moment) -> tuple[int, float]:
        """Messages waiting, and how long the oldest has."""
        if self._reader is None:
            return -1, 0.0
        try:
            depth, oldest = self._reader.depth(), self._reader.oldest()
        except OutboxError as exc:
            self._outbox_failed(exc)
            return -1, 0.0
        return depth, clock.elapsed_s(oldest, now) if oldest else 0.0
