"""Topics, and the payloads that are not `edge.messages.Message`. `docs/asyncapi.yaml` is the same for outsiders."""

from __future__ import annotations

from typing import Any

from edge.clock import ClockStatus
from edge.history import Trouble
from edge.types import Struct
from edge.updating import UpdateStatus

ALERT, EVENT = "alert", "event"  # the outbox's channels are the topics' last level


class Topics(Struct, frozen=True, kw_only=True):
    """`PREFIX/DEVICE/...`: device ids only, never anything about a patient or a procedure."""

    prefix: str
    device: str  # "+" for a consumer of all boxes

    def of(self, leaf: str) -> str:
        return f"{self.prefix}/{self.device}/{leaf}"

    @property
    def state(self) -> str:
        return self.of("state")

    @property
    def telemetry(self) -> str:
        return self.of("telemetry")

    @property
    def update(self) -> str:
        return self.of("update")

    @property
    def ack(self) -> str:
        """Response topic of alerts and events when `confirm = "subscriber"`; correlation data is the message's id."""
        return self.of("ack")

    @property
    def check(self) -> str:
        """`endoedge check --deep` publishes here, and subscribes, to see whether anything gets through."""
        return self.of("check")


class State(Struct, frozen=True, kw_only=True):
    """Retained on `/state`: birth at every connect, farewell at a clean stop, and the broker sends the will."""

    device: str
    online: bool
    reason: str  # "connected", "stopped", or "lost" (the will: the box vanished)
    software: str  # version of the endoedge distribution
    boot: str  # the kernel's boot id, as in Message
    connected_at: str  # wall clock, RFC 3339, UTC: when this connection was begun
    clock_trusted: bool = False  # whether a time server or another reference stood behind it
    safe: str = ""  # why the box is in its safe state and analyses nothing; "" when it is not


class Update(Struct, frozen=True, kw_only=True):
    """Retained on `/update`: what the updater says of itself. Sent at every connect, and when it changes; progress
    every 2 s or 5 percent. An empty payload: this box has no updater any more."""

    device: str
    at: str  # wall clock, RFC 3339, UTC: when this was sent
    clock_trusted: bool
    alive: bool  # False: the updater has said nothing for a while, and `updater` is its last word
    updater: UpdateStatus


class UpdateBrief(Struct, frozen=True, kw_only=True):
    """Of `Update`, what telemetry repeats."""

    alive: bool
    version: str
    state: str
    trouble: str  # what a person should know: no network, expired metadata, a version that did not hold
    refused: tuple[str, ...]  # versions that were tried here and did not hold


class Ack(Struct, frozen=True, kw_only=True):
    """On `/ack`: a consumer has *handled* a message. The correlation data decides; the payload is for people."""

    id: str
    consumer: str


class ReportsStatus(Struct, frozen=True, kw_only=True):
    """What became of the procedures that the report server is to have. Counters since the process started."""

    server: str
    waiting: int  # procedures that are over and not sent
    sent: int
    frames: int  # key frames among what was sent
    bytes: int
    aside: dict[str, str]  # procedure → why the server will not take it; tried again when the uplink starts anew
    fault: str  # why nothing is sent now; "" when all is well
    permanent: bool  # it looks as if a person must act


class UplinkStatus(Struct, frozen=True, kw_only=True):
    """The uplink's status file, replaced once a second, and part of telemetry. Counters since the process started."""

    device: str
    broker: str
    pid: int
    updated_at: str  # wall clock, RFC 3339, UTC
    updated_ns: int  # ... and CLOCK_MONOTONIC: older than a few seconds means that the uplink is gone or stuck
    clock: ClockStatus  # what stands behind the wall clock, here and in telemetry
    connected: bool
    last_error: str  # "" when all is well; one line that says what to do otherwise
    permanent: bool  # last_error looks as if a person must act
    waiting: dict[str, str]  # topic → why its oldest message is not delivered
    depth: int  # messages in the outbox; -1 while it cannot be read
    oldest_age_s: float  # however the clock was set; over a restart at least this
    connects: int
    sent: int  # first publishes
    republished: int  # further publishes of a message already sent, same id
    delivered: int  # confirmed as configured, and so deleted
    no_subscriber: int  # PUBACKs with reason 0x10
    refused: int  # PUBACKs with a failure reason
    telemetry_dropped: int
    safe: str = ""  # why the box is in its safe state and analyses nothing; "" when it is not
    troubles: tuple[Trouble, ...] = ()  # the last that went wrong, oldest first, over restarts of the uplink
    metrics_push: str = ""  # why figures that should be pushed are not; it holds up no message
    reports: ReportsStatus | None = None  # None: there is no report server


class Telemetry(Struct, frozen=True, kw_only=True):
    """On `/telemetry`, QoS 0: droppable. `core` is core's status file as it is; null when there is none."""

    device: str
    at: str
    core: Any
    uplink: UplinkStatus
    update: UpdateBrief | None = None  # None: there is no updater
