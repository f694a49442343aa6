"""Which landmarks a procedure has reached. A landmark is said once, and never taken back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from edge.decide.config import LandmarkRow
from edge.decide.moment import Moment, to_ns
from edge.messages import LandmarkReached
from edge.types import Classification


def score_of(said: Sequence[Classification], head: str, label: str) -> float:
    """What `head` gives to `label`, 0..1; 0 when it says something else, nothing, or no real score."""
    for one in said:
        if one.head == head:
            return one.score if one.label == label and 0.0 <= one.score <= 1.0 else 0.0
    return 0.0


class Landmark:
    """One row of the table, within one procedure."""

    def __init__(self, row: LandmarkRow) -> None:
        self.row = row
        self._forget_ns = to_ns(row.forget_s)
        self._last_ns: int | None = None
        self._smoothed = 0.0
        self._window: deque[tuple[int, float] | None] = deque(maxlen=row.window)  # (time, score) of views that held

    @property
    def evidence(self) -> list[tuple[int, float]]:
        """Time and score of the views that it is believed for, the oldest first."""
        return [view for view in self._window if view is not None]

    def see(self, at: Moment, score: float) -> bool:
        """One good view on. True when the landmark is reached with it."""
        if self._last_ns is not None and at.ns - self._last_ns > self._forget_ns:
            self._smoothed = 0.0
            self._window.clear()
        self._last_ns = at.ns
        self._smoothed += self.row.newest * (score - self._smoothed)
        self._window.append((at.ns, score) if self._smoothed >= self.row.score else None)
        return len(self._window) - self._window.count(None) >= self.row.confirm


class Landmarks:
    """All rows of the table. `close` forgets the procedure."""

    def __init__(self, rows: Sequence[LandmarkRow]) -> None:
        self._rows = tuple(rows)
        self._open = [Landmark(row) for row in self._rows]

    def step(
        self, at: Moment, said: Sequence[Classification], *, procedure: str, started_ns: int
    ) -> list[LandmarkReached]:
        """One good view of a procedure. What is reached with it, in the table's order."""
        events: list[LandmarkReached] = []
        for landmark in tuple(self._open):
            row = landmark.row
            if not landmark.see(at, score_of(said, row.head, row.label)):
                continue
            self._open.remove(landmark)
            first_seen_ns = landmark.evidence[0][0]
            events.append(
                LandmarkReached(
                    kind=row.kind,
                    procedure=procedure,
                    captured_ns=at.captured_ns,
                    media_ns=at.ns,
                    first_seen_ns=first_seen_ns,
                    after_ns=first_seen_ns - started_ns,
                    best_score=max(score for _, score in landmark.evidence),
                )
            )
        return events

    def close(self) -> None:
        """The procedure is over: all are to be reached again."""
        self._open = [Landmark(row) for row in self._rows]
