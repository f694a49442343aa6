"""What leaves the box: events, and the message that carries one over MQTT. Made of the words of `edge/types.py`, which
also says what `captured_ns` and `media_ns` are. For outsiders: `docs/schemas/message.schema.json`.
"""

from __future__ import annotations

import enum
from typing import Literal

from edge.types import Box, SignalState, Struct, View


class Priority(str, enum.Enum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Alert(Struct, frozen=True, kw_only=True, tag="alert"):
    """Somebody should look. `captured_ns` is the frame that made the rule fire."""

    kind: str  # "polyp", "no_signal", "poor_view": a row of the pipeline's alert table
    priority: Priority
    text: str
    captured_ns: int
    media_ns: int
    procedure: str = ""
    track: int = 0  # stable within a procedure; 0 where the alert is not about a region
    box: Box | None = None
    score: float = 0.0
    first_seen_ns: int = 0  # media time of the track's first detection


class AlertCleared(Struct, frozen=True, kw_only=True, tag="alert_cleared"):
    """The condition of an earlier alert is over (held for the table's `hold_s`)."""

    kind: str
    captured_ns: int
    media_ns: int
    procedure: str = ""
    track: int = 0


class FindingEnded(Struct, frozen=True, kw_only=True, tag="finding"):
    """A confirmed track ended: the record a report is made from."""

    label: str
    track: int
    procedure: str
    captured_ns: int
    media_ns: int  # when it was last seen
    first_seen_ns: int
    frames: int
    best_score: float  # of all frames
    best_box: Box  # in its best view: what the model was sure of, sharp, and large
    best_seen_ns: int  # ... and when that was
    scores: tuple[float, ...] = ()  # the best of each stretch of `scores_every_ns` from `first_seen_ns` on; 0: not seen
    scores_every_ns: int = 0


class LandmarkReached(Struct, frozen=True, kw_only=True, tag="landmark"):
    """A landmark was seen for long enough to be believed. Said once in a procedure."""

    kind: str  # "caecum": a row of the pipeline's landmark table
    procedure: str
    captured_ns: int
    media_ns: int  # when it was believed
    first_seen_ns: int  # the first of the good views that it is believed for
    after_ns: int  # from the procedure's start to `first_seen_ns`: the insertion time, where this is the caecum
    best_score: float  # of those views, 0..1


class Judged(Struct, frozen=True, kw_only=True, tag="judgement"):
    """What one head said over all good views of a procedure. Said at its end, once a row of the judgement table."""

    kind: str  # "preparation"
    procedure: str
    captured_ns: int
    media_ns: int  # the procedure's end
    label: str  # the verdict, or "": too few views, or no label has the share that a verdict needs
    views: int  # good views in which the head was sure
    unsure: int  # good views in which it was not: they count for nothing
    shares: dict[str, float]  # label → its share of `views`, 0..1; labels that were never said are left out


class ProcedureStarted(Struct, frozen=True, kw_only=True, tag="procedure_started"):
    procedure: str
    captured_ns: int
    media_ns: int


class ProcedureEnded(Struct, frozen=True, kw_only=True, tag="procedure_ended"):
    procedure: str
    captured_ns: int
    media_ns: int
    duration_ns: int
    findings: int


class SignalChanged(Struct, frozen=True, kw_only=True, tag="signal"):
    state: SignalState
    previous: SignalState
    captured_ns: int
    media_ns: int
    detail: str = ""


class ViewChanged(Struct, frozen=True, kw_only=True, tag="view"):
    view: View
    previous: View
    captured_ns: int
    media_ns: int
    reason: str = ""


class EffortChanged(Struct, frozen=True, kw_only=True, tag="effort"):
    """The box does less because it is hot, slowed down by its own hardware, or too slow for the feed; or more again."""

    effort: str  # a rung of `edge/decide/ladder.py`: "full", "sparse", "regions", "half", "quarter"
    previous: str
    reason: str  # "gpu-thermal 4.0 C below its limit"
    captured_ns: int
    media_ns: int


EngineState = Literal["begun", "building", "built", "serving", "failed"]


class EngineChanged(Struct, frozen=True, kw_only=True, tag="engine"):
    """A better engine for this machine is built beside the one that serves, which goes on until `serving`, and after
    `failed`. `building` comes rarely: `edge/decide/engine.py`."""

    state: EngineState
    detail: str  # begun, failed: why; building: the phase, as TensorRT names it; built, serving: the new engine
    captured_ns: int
    media_ns: int
    share: float | None = None  # of `building`: how much of the phase is done, 0..1


class ProcedureDropped(Struct, frozen=True, kw_only=True, tag="procedure_dropped"):
    """A procedure's record and key frames were removed before the report server had them. Said again after a crash:
    consumers drop a repeated `procedure`."""

    procedure: str
    reason: str
    captured_ns: int
    media_ns: int


ProcedureEvent = ProcedureStarted | LandmarkReached | FindingEnded | Judged | ProcedureEnded
BoxEvent = SignalChanged | ViewChanged | EffortChanged | EngineChanged | ProcedureDropped
Event = Alert | AlertCleared | ProcedureEvent | BoxEvent


class Message(Struct, frozen=True, kw_only=True):
    """An event as it leaves the box: the MQTT payload. Consumers drop a repeated `id`."""

    id: str  # ULID, made when the event was committed
    device: str
    boot: str  # the kernel's boot id: `captured_ns` is comparable within one boot only
    seq: int  # the outbox's own counter: strictly increasing for a device, never reused
    committed_at: str  # wall clock, RFC 3339, UTC
    event: Event
    committed_ns: int = 0  # ... and CLOCK_MONOTONIC of `boot`; 0 from a version that did not say
    clock_trusted: bool = False  # whether a time server or another reference stood behind `committed_at`
