"""What connects board, ladder and loop: once a second the ladder hears how things stand, and what it says is done."""

from __future__ import annotations

import time
from collections.abc import Sequence

from edge.board.watch import Watch
from edge.capture.thinned import Thinned
from edge.decide.ladder import Ladder, Load
from edge.heads import Heads
from edge.messages import EffortChanged, Event
from edge.status import Every
from edge.timing import Stages
from edge.types import BoardReading

WAITING = "wait"  # the stage in which the loop waits for a picture
MISSED = 0.01  # share of the feed that may be dropped by a loop that keeps up


class Governor:
    """Owner: the core loop's thread; only the board's files are read in another."""

    def __init__(
        self, ladder: Ladder, watch: Watch, heads: Heads, source: Thinned, stages: Stages, *, keeps_time: bool
    ) -> None:
        """`keeps_time`: the feed has a rate of its own, so a loop can be too slow for it."""
        self._ladder, self._watch, self._heads, self._source = ladder, watch, heads, source
        self._feed = Feed(source, stages) if keeps_time else None
        self._every = Every()

    @property
    def effort(self) -> str:
        return self._ladder.rung.name

    @property
    def board(self) -> BoardReading | None:
        return self._watch.latest

    def hear(self, events: Sequence[Event]) -> None:
        """Of every moment, after its events were committed."""
        if any(isinstance(event, EffortChanged) for event in events):
            self._heads.spare(self._ladder.rung.heads_every)
            self._source.every = self._ladder.rung.frames_every
        if self._every.due():
            self._ladder.load = self._load()

    def close(self) -> None:
        self._watch.close()

    def _load(self) -> Load:
        demand = self._feed.demand() if self._feed else None
        reading = self._watch.latest
        if reading is None:
            return Load(demand=demand)
        zone, room_c = reading.nearest() or ("", None)
        return Load(zone, room_c, reading.throttled, demand)


class Feed:
    """How much of the feed's pace the loop could keep, from the counters' growth since the last look."""

    def __init__(self, source: Thinned, stages: Stages) -> None:
        self._source, self._stages = source, stages
        self._last = self._look()

    def demand(self) -> float | None:
        """See `Load`. None where no frame was analysed since. Who misses nothing keeps up, however busy."""
        last, self._last = self._last, self._look()
        spent_ns, busy_s, analysed, offered, missed = (
            now - before for now, before in zip(self._last, last, strict=True)
        )
        if not analysed or not spent_ns:
            return None
        demand = busy_s / analysed * offered / (spent_ns / 1e9)
        return demand if missed > MISSED * offered else min(demand, 1.0)

    def _look(self) -> tuple[float, ...]:
        """When; seconds at work; frames analysed, offered by the feed, missed against our will. All only grow."""
        stats = self._source.stats()
        busy_s = sum(self._stages.total_s(name) for name in self._stages.names if name != WAITING)
        offered = stats.frames + stats.dropped
        return time.monotonic_ns(), busy_s, stats.frames, offered, stats.dropped - stats.spared
