"""The degradation ladder: how the box does less when it is hot, held back by its own hardware, or too slow.

What judges whole pictures is asked more rarely first, then not at all; then the rate falls. Every rung looks for
regions: polyps are the last that would be given up, and no rung does. What is hotter than the last rung is the
hardware's own business, which throttles and in the end switches off. Pure; the table is the whole of the policy.

The bands of neighbouring rungs overlap, so that nothing moves to and fro (the idea is openpilot's THERMAL_BANDS).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from edge.decide.moment import Moment
from edge.messages import EffortChanged

WORSE_AFTER_NS = 3_000_000_000  # so long a rung must be too much before the next is taken
BETTER_AFTER_NS = 15_000_000_000  # and so long the one before must be possible: heat takes its time


class Band(NamedTuple):
    """A rung is entered beyond the first value, and left beyond the second, which lies on the other side of it."""

    enter: float
    leave: float


class Rung(NamedTuple):
    """How much is done, and when."""

    name: str
    heads_every: int  # heads that judge whole pictures look at every n-th analysed frame; 0: at none
    frames_every: int  # every n-th frame is analysed
    room_c: Band  # degrees below the limit of the zone that is nearest to its own
    demand: Band  # see Load
    throttled: bool  # hardware that holds itself back is a reason to come as far as this


# A loop that is too slow drops frames by itself and gets the newest. A lower rate takes over only where that analyses
# about as many, evenly spaced.
_NEVER = Band(-math.inf, -math.inf), Band(math.inf, math.inf)
LADDER = (
    Rung("full", 1, 1, *_NEVER, False),
    Rung("sparse", 5, 1, Band(12.0, 17.0), Band(1.00, 0.75), True),
    Rung("regions", 0, 1, Band(9.0, 14.0), Band(1.00, 0.75), True),
    Rung("half", 0, 2, Band(6.0, 11.0), Band(1.90, 1.50), True),
    Rung("quarter", 0, 4, Band(3.0, 8.0), Band(3.80, 3.00), False),
)


class Load(NamedTuple):
    """How things stand. None is not known, and no reason for anything."""

    zone: str = ""
    room_c: float | None = None  # of that zone, the nearest to its limit
    throttled: tuple[str, ...] = ()  # parts that the hardware holds back
    demand: float | None = None
    """The time that analysing every frame of the feed would take, at the present effort a frame, as a share of the time
    there is. Above 1 frames are dropped without being asked."""


class Ladder:
    """Where on the ladder the box stands. Time comes with the moments; `load` is set by whoever measures it."""

    def __init__(self, rungs: Sequence[Rung] = LADDER) -> None:
        self._rungs = tuple(rungs)
        self._place = 0
        self._since: dict[int, int] = {}  # direction (+1 further, -1 back) → since when it is asked for
        self.load = Load()

    @property
    def rung(self) -> Rung:
        return self._rungs[self._place]

    def step(self, at: Moment) -> EffortChanged | None:
        """At most one rung up or down, when the reason for it has lasted. Runs on `captured_ns`: heat is of the real
        world, whatever the speed of the stream."""
        further = self._too_much()
        for direction, asked, after_ns in (
            (+1, bool(further), WORSE_AFTER_NS),
            (-1, self._place > 0 and not further and self._enough_room(), BETTER_AFTER_NS),
        ):
            if not asked:
                self._since.pop(direction, None)
            elif at.captured_ns - self._since.setdefault(direction, at.captured_ns) >= after_ns:
                return self._go(direction, further or self._relief(), at)
        return None

    def _too_much(self) -> str:
        """Why the next rung is needed, or ""."""
        if self._place + 1 == len(self._rungs):
            return ""
        load, following = self.load, self._rungs[self._place + 1]
        if load.room_c is not None and load.room_c < following.room_c.enter:
            return f"{load.zone} {load.room_c:.1f} C below its limit"
        if load.throttled and following.throttled:
            return f"the hardware holds back: {', '.join(load.throttled)}"
        if load.demand is not None and load.demand > following.demand.enter:
            return f"the feed needs {load.demand:.2f} times the time there is"
        return ""

    def _enough_room(self) -> bool:
        """Nothing that is known keeps the box on this rung."""
        load, rung = self.load, self.rung
        cool = load.room_c is None or load.room_c > rung.room_c.leave
        fast = load.demand is None or load.demand < rung.demand.leave
        return cool and fast and not (load.throttled and rung.throttled)

    def _relief(self) -> str:
        load = self.load
        words = [f"{load.zone} {load.room_c:.1f} C below its limit"] if load.room_c is not None else []
        words += [f"the feed needs {load.demand:.2f} of the time there is"] if load.demand is not None else []
        return ", ".join(words) or "no reason is left"

    def _go(self, direction: int, reason: str, at: Moment) -> EffortChanged:
        previous = self.rung.name
        self._place += direction
        self._since.clear()
        return EffortChanged(
            effort=self.rung.name, previous=previous, reason=reason, captured_ns=at.captured_ns, media_ns=at.ns
        )


def table() -> str:
    """The ladder as Markdown, for docs/board.md; a test holds the two together."""
    rows = [
        f"| `{rung.name}` | {_often(rung.heads_every, 'picture')} | {_often(rung.frames_every, 'frame')} "
        f"| {_band(rung.room_c, 'below {:g} °C', 'above {:g} °C')} "
        f"| {_band(rung.demand, 'above {:.2f}', 'below {:.2f}')} | {'yes' if rung.throttled else 'no'} |"
        for rung in LADDER
    ]
    head = "| rung | heads that judge whole pictures | analysed | room: taken, left | demand: taken, left | throttled |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def _often(every: int, what: str) -> str:
    ordinals = {0: "off", 1: f"every {what}", 2: f"every second {what}", 4: f"every fourth {what}"}
    return ordinals.get(every, f"every {every}th {what}")


def _band(band: Band, taken: str, left: str) -> str:
    return f"{taken.format(band.enter)}, {left.format(band.leave)}" if math.isfinite(band.enter) else "–"
