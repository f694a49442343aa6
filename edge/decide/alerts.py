"""The alert table at work: which rows hold now, what is raised, what is cleared.

A row and a track number (0 where the row is not about a region) make one alert. It is raised when its condition has
lasted `after_s`, stays active while the condition holds and `hold_s` longer, and is then cleared once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from edge.decide.config import AlertRow, SignalRow, TrackRow, ViewRow
from edge.decide.moment import Moment, to_ns
from edge.decide.states import Signal, ViewGate
from edge.decide.tracks import Track
from edge.messages import Alert, AlertCleared
from edge.types import Box

Key = tuple[int, int]  # (row's place in the table, track)


class Situation(NamedTuple):
    """What the rows look at."""

    procedure: str
    view: ViewGate
    signal: Signal
    tracks: Sequence[Track]  # the confirmed ones


class Subject(NamedTuple):
    """Something a row's condition holds for."""

    since_ns: int
    words: dict[str, Any]
    track: int = 0
    box: Box | None = None
    score: float = 0.0
    first_seen_ns: int = 0
    in_sight: bool = True  # in this very frame; an alert is only raised for what is


def _tracks(row: TrackRow, now: Situation) -> Iterable[Subject]:
    for track in now.tracks:
        if track.label == row.label:
            yield Subject(
                since_ns=track.confirmed_ns,
                words={"label": track.label, "track": track.id, "score": track.score},
                track=track.id,
                box=track.box,
                score=track.score,
                first_seen_ns=track.first_seen_ns,
                in_sight=track.seen,
            )


def _view(row: ViewRow, now: Situation) -> Iterable[Subject]:
    if now.view.view in row.states and now.view.since_ns is not None and (now.procedure or not row.in_procedure):
        words = {"state": now.view.view.value, "reason": now.view.reason}
        yield Subject(now.view.since_ns, words, in_sight=now.view.settled)


def _signal(row: SignalRow, now: Situation) -> Iterable[Subject]:
    if now.signal.state in row.states and now.signal.since_ns is not None and (now.procedure or not row.in_procedure):
        yield Subject(now.signal.since_ns, {"state": now.signal.state.value, "reason": now.signal.detail})


_SUBJECTS: dict[type, Callable[[Any, Situation], Iterable[Subject]]] = {
    TrackRow: _tracks,
    ViewRow: _view,
    SignalRow: _signal,
}


class _Active:
    """An alert that was raised and not yet cleared."""

    __slots__ = ("held_ns", "procedure")

    def __init__(self, procedure: str) -> None:
        self.procedure = procedure
        self.held_ns = 0  # when its condition last held


class Alerts:
    """What is active, and when each alert was last raised."""

    def __init__(self, rows: Sequence[AlertRow]) -> None:
        self._rows = tuple(rows)
        self._active: dict[Key, _Active] = {}
        self._raised_ns: dict[Key, int] = {}

    def step(self, at: Moment, now: Situation) -> list[AlertCleared | Alert]:
        """What is cleared, then what is raised, each in the table's order and by track."""
        raised: list[Alert] = []
        for place, row in enumerate(self._rows):
            for subject in _SUBJECTS[type(row)](row, now):
                key = (place, subject.track)
                if self._is_due(key, row, subject, at):
                    self._active.setdefault(key, _Active(now.procedure))
                    self._raised_ns[key] = at.ns
                    raised.append(_alert(row, subject, at, now.procedure))
                if key in self._active:
                    self._active[key].held_ns = at.ns
        over = [key for key in sorted(self._active) if self._is_over(key, at)]
        return [*self._clear(over, at), *raised]

    def close_procedure(self, at: Moment) -> list[AlertCleared]:
        """Clear what is bound to the procedure that ends, whatever its hold. Track numbers start anew."""
        over = [key for key in sorted(self._active) if self._rows[key[0]].in_procedure]
        self._raised_ns = {key: ns for key, ns in self._raised_ns.items() if key[1] == 0}
        return self._clear(over, at)

    def close_all(self, at: Moment) -> list[AlertCleared]:
        return self._clear(sorted(self._active), at)

    def _is_due(self, key: Key, row: AlertRow, subject: Subject, at: Moment) -> bool:
        if not subject.in_sight or at.ns - subject.since_ns < to_ns(row.after_s):
            return False
        if key in self._active and not isinstance(row, TrackRow):
            return False
        last_ns = self._raised_ns.get(key)
        return last_ns is None or (row.repeat_s is not None and at.ns - last_ns >= to_ns(row.repeat_s))

    def _is_over(self, key: Key, at: Moment) -> bool:
        since_ns = at.ns - self._active[key].held_ns
        return since_ns > 0 and since_ns >= to_ns(self._rows[key[0]].hold_s)

    def _clear(self, keys: Iterable[Key], at: Moment) -> list[AlertCleared]:
        return [
            AlertCleared(
                kind=self._rows[key[0]].kind,
                captured_ns=at.captured_ns,
                media_ns=at.ns,
                procedure=self._active.pop(key).procedure,
                track=key[1],
            )
            for key in keys
        ]


def _alert(row: AlertRow, subject: Subject, at: Moment, procedure: str) -> Alert:
    return Alert(
        kind=row.kind,
        priority=row.priority,
        text=row.text.format(**subject.words),
        captured_ns=at.captured_ns,
        media_ns=at.ns,
        procedure=procedure,
        track=subject.track,
        box=subject.box,
        score=subject.score,
        first_seen_ns=subject.first_seen_ns,
    )
