"""A procedure's timeline: where on it each thing lies, in percent of its length, so that a picture of any width can be
drawn from it without a word being stretched. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge.procedure import Record
from edge.types import Struct
from server.export.words import clock

LANES_MOST = 6  # of findings that overlap; more share the last one
NARROWEST = 0.5  # percent: what is shorter could not be hit
TICKS_MOST = 8
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)


class Tick(Struct, frozen=True, kw_only=True):
    at: float
    text: str


class Bar(Struct, frozen=True, kw_only=True):
    id: str  # of the fact; "" of none
    kind: str  # insertion, withdrawal, finding, interruption
    label: str
    at: float
    width: float
    lane: int = 0
    text: str = ""  # from when to when


class Mark(Struct, frozen=True, kw_only=True):
    id: str
    label: str
    at: float
    text: str


class Timeline(Struct, frozen=True, kw_only=True):
    duration_s: float
    ticks: tuple[Tick, ...]
    phases: tuple[Bar, ...]
    findings: tuple[Bar, ...]
    lanes: int  # of findings
    landmarks: tuple[Mark, ...]
    interruptions: tuple[Bar, ...]


def timeline(record: Record) -> Timeline:
    """Whatever lies outside the procedure is drawn at its edge."""
    scale = Scale(record.times.duration_s)
    findings = _packed(scale, record)
    return Timeline(
        duration_s=scale.length_s,
        ticks=tuple(_ticks(scale)),
        phases=tuple(_phases(scale, record)),
        findings=findings,
        lanes=1 + max((bar.lane for bar in findings), default=0),
        landmarks=tuple(
            Mark(id=one.id, label=one.kind, at=scale.at(one.first_seen_s), text=clock(max(0.0, one.first_seen_s)))
            for one in record.landmarks
        ),
        interruptions=tuple(
            scale.bar(one.id, "interruption", one.state, one.from_s, one.to_s) for one in record.interruptions
        ),
    )


class Scale:
    def __init__(self, duration_s: float) -> None:
        self.length_s = max(duration_s, 0.001)

    def at(self, seconds: float) -> float:
        return round(100 * min(max(seconds / self.length_s, 0.0), 1.0), 3)

    def bar(self, name: str, kind: str, label: str, from_s: float, to_s: float, lane: int = 0) -> Bar:
        first, last = self.at(from_s), self.at(max(from_s, to_s))
        width = max(last - first, NARROWEST)
        first = min(first, 100 - width)
        text = f"{clock(max(0.0, from_s))} to {clock(max(0.0, from_s, to_s))}"
        return Bar(id=name, kind=kind, label=label, at=round(first, 3), width=round(width, 3), lane=lane, text=text)


def _phases(scale: Scale, record: Record) -> Iterable[Bar]:
    insertion_s, withdrawal_s = record.times.insertion_s, record.times.withdrawal_s
    if insertion_s is not None:
        yield scale.bar("", "insertion", "insertion", 0.0, insertion_s)
    if withdrawal_s is not None:
        since_s = insertion_s if insertion_s is not None else scale.length_s - withdrawal_s
        yield scale.bar("", "withdrawal", "withdrawal", since_s, since_s + withdrawal_s)


def _packed(scale: Scale, record: Record) -> tuple[Bar, ...]:
    """Each in the first lane that is free."""
    free: list[float] = []
    bars = []
    for one in sorted(record.findings, key=lambda finding: finding.first_seen_s):
        bar = scale.bar(one.id, "finding", one.label, one.first_seen_s, one.last_seen_s)
        lane = next((number for number, until in enumerate(free) if until <= bar.at), len(free))
        lane = min(lane, LANES_MOST - 1)
        free[lane : lane + 1] = [bar.at + bar.width]
        bars.append(scale.bar(one.id, "finding", one.label, one.first_seen_s, one.last_seen_s, lane))
    return tuple(bars)


def _ticks(scale: Scale) -> Iterable[Tick]:
    step_s = next((step for step in _STEPS if scale.length_s / step <= TICKS_MOST), _STEPS[-1])
    for number in range(min(int(scale.length_s / step_s), TICKS_MOST) + 1):
        yield Tick(at=scale.at(number * step_s), text=clock(number * step_s))
