"""How well a replay went, against the truth of its clip. Pure.

A polyp *appears* in the first frame where at least SEEN_SHARE of the picture shows it. A detection or alert belongs to
a polyp when the box's centre lies in the polyp's box, or their overlap is at least MIN_IOU. An alert that belongs to
none is false. Delays count from the appearance and are never below 0.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from edge.messages import Alert, Event, Judged, LandmarkReached
from edge.phantom import Header, PolypTruth, Truth
from edge.types import Box, Findings, Struct

SEEN_SHARE = 0.003
MIN_IOU = 0.1
GRACE_NS = 1_000_000_000  # an alert this long after a polyp left its last box still belongs to it


class KnownClip(NamedTuple):
    """A clip's truth file."""

    header: Header
    frames: Sequence[Truth]

    def seen(self, polyp: PolypTruth) -> bool:
        return polyp.area >= SEEN_SHARE * self.header.script.width * self.header.script.height

    def polyps(self) -> list[int]:
        return sorted({polyp.id for truth in self.frames for polyp in truth.polyps})


class Scene(Struct, frozen=True, kw_only=True):
    """One analysed frame."""

    moment: Findings
    events: tuple[Event, ...]


class PolypScore(Struct, frozen=True, kw_only=True):
    id: int
    paris: str
    appears_s: float
    visible_s: float
    detection_delay_ms: float | None
    alert_delay_ms: float | None


class Score(Struct, frozen=True, kw_only=True):
    frames: int
    minutes: float
    alerts: int
    polyps: tuple[PolypScore, ...] = ()
    missed: int | None = None
    false_alerts: int | None = None
    false_per_minute: float | None = None
    median_detection_delay_ms: float | None = None
    median_alert_delay_ms: float | None = None
    landmarks: tuple[LandmarkReached, ...] = ()
    judgements: tuple[Judged, ...] = ()


def score(scenes: Sequence[Scene], events: Sequence[Event], truth: KnownClip | None) -> Score:
    """`truth` None: counts only."""
    minutes = (scenes[-1].moment.media_ns - scenes[0].moment.media_ns) / 60e9 if len(scenes) > 1 else 0.0
    alerts = [event for event in events if isinstance(event, Alert) and event.box is not None]
    told = Score(
        frames=len(scenes),
        minutes=round(minutes, 4),
        alerts=len(alerts),
        landmarks=tuple(event for event in events if isinstance(event, LandmarkReached)),
        judgements=tuple(event for event in events if isinstance(event, Judged)),
    )
    if truth is None:
        return told
    shown = {identity: _appearances(truth, identity) for identity in truth.polyps()}
    polyps = [_score_polyp(seen, scenes, alerts) for seen in shown.values() if seen]
    false = sum(not any(_belongs(alert.box, alert.media_ns, seen) for seen in shown.values()) for alert in alerts)
    found = [polyp for polyp in polyps if polyp.alert_delay_ms is not None]
    return msgspec.structs.replace(
        told,
        polyps=tuple(polyps),
        missed=len(polyps) - len(found),
        false_alerts=false,
        false_per_minute=round(false / minutes, 3) if minutes else 0.0,
        median_detection_delay_ms=_median([p.detection_delay_ms for p in polyps]),
        median_alert_delay_ms=_median([p.alert_delay_ms for p in polyps]),
    )


Appearance = tuple[int, PolypTruth]  # media time and what is seen then


def _appearances(truth: KnownClip, identity: int) -> list[Appearance]:
    return [(t.media_ns, p) for t in truth.frames for p in t.polyps if p.id == identity and truth.seen(p)]


def _score_polyp(seen: list[Appearance], scenes: Sequence[Scene], alerts: Sequence[Alert]) -> PolypScore:
    first_ns, polyp = seen[0]
    frame_ns = (seen[-1][0] - first_ns) / max(1, len(seen) - 1)
    detected = (
        scene.moment.media_ns
        for scene in scenes
        if any(_belongs(found.box, scene.moment.media_ns, seen) for found in scene.moment.detections)
    )
    alerted = (alert.media_ns for alert in alerts if _belongs(alert.box, alert.media_ns, seen))
    return PolypScore(
        id=polyp.id,
        paris=polyp.paris,
        appears_s=round(first_ns / 1e9, 3),
        visible_s=round(len(seen) * frame_ns / 1e9, 3),
        detection_delay_ms=_delay_ms(next(detected, None), first_ns),
        alert_delay_ms=_delay_ms(next(alerted, None), first_ns),
    )


def _delay_ms(at_ns: int | None, first_ns: int) -> float | None:
    return None if at_ns is None else round(max(0, at_ns - first_ns) / 1e6, 1)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 1) if known else None


def _belongs(box: Box | None, media_ns: int, seen: Sequence[Appearance]) -> bool:
    if box is None or not seen:
        return False
    at_ns, polyp = min(seen, key=lambda appearance: abs(appearance[0] - media_ns))
    if abs(at_ns - media_ns) > GRACE_NS:
        return False
    centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    x0, y0, x1, y1 = polyp.box
    return (x0 <= centre_x <= x1 and y0 <= centre_y <= y1) or _iou(box, polyp.box) >= MIN_IOU


def _iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union
