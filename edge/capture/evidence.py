"""What is known of a live signal at one moment, and what earlier moments left behind. Pure."""

from __future__ import annotations

import enum
from collections import deque
from typing import NamedTuple

S = 1_000_000_000  # ns


class Link(str, enum.Enum):
    """What the driver says of the cable."""

    UNKNOWN = "unknown"  # it cannot say (most USB grabbers, all streams): pictures alone tell
    LOCKED = "locked"
    NO_SIGNAL = "no signal"
    UNLOCKED = "no lock"
    OUT_OF_RANGE = "out of range"
    PROTECTED = "protected"
    GONE = "gone"


class Look(str, enum.Enum):
    """What one picture is. Only a `moving` one is a picture of now."""

    MOVING = "moving"
    REPEATED = "repeated"  # the one before it, to the bit
    STALE = "stale"  # it was taken too long ago
    BLACK = "black"
    BARS = "bars"
    FLAT = "flat"  # one colour, not black


class Layout(str, enum.Enum):
    """Whether it is known which part of the tower's picture is the endoscope's."""

    SEARCHING = "searching"
    KNOWN = "known"
    UNKNOWN = "unknown"


class Seen(NamedTuple):
    """All that is known at one moment."""

    now_ns: int
    link: Link = Link.UNKNOWN
    running: bool = False  # a pipeline plays
    look: Look | None = None  # of the picture that came since the last step; None: there was none
    layout: Layout = Layout.KNOWN
    misfit: str = ""  # why a layout that was given is none of this picture
    changed: str = ""  # the format that came instead of the one that the pipeline was built for
    error: str = ""  # why the pipeline broke
    rate: float = 0.0  # pictures a second, over the last second; 0: not known yet
    nominal: float = 0.0  # ... as the format says; 0: it says nothing


SILENT_NS = 1 * S  # without a picture for so long (or three frame times, if longer): a loss that no driver reported
FRESH = 3  # moving pictures that make a signal live
FLAPS, FLAP_WITHIN_NS, FLAP_QUIET_NS = 6, 2 * S, 1 * S  # so many changes of the link in so short a time: unstable ...
RATE_SLACK, RATE_MOST = 1.5, 130.0  # times the nominal rate; pictures a second where there is none
FROZEN_NS = S // 2  # the same picture for so long
SETTLED_NS = 2 * S  # pictures for so long: earlier faults are forgotten
RETRY_NS = tuple(round(s * S) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10))  # wait before the next build, by faults in a row
STORM, STORM_WITHIN_NS, STORM_RETRY_NS = 6, 60 * S, 30 * S  # so many faults in that time: give up hurrying
REFRESH_NS = tuple(s * S for s in (5, 10, 20, 40, 60))  # a frozen picture gets a new pipeline after so long, and again
BROKEN = frozenset({Link.NO_SIGNAL, Link.UNLOCKED, Link.OUT_OF_RANGE, Link.GONE})


class Memory:
    """What earlier steps left behind: since when something has been so."""

    def __init__(self, first_ns: int) -> None:
        self.first_ns = first_ns
        self.built_ns = 0  # when the present pipeline began to play
        self.first_picture_ns = 0  # of that pipeline
        self.picture_ns: int | None = None  # of its newest picture that was not stale
        self.moving_ns = 0  # of the newest that moved, or when the pipeline began to play
        self.moving = 0  # moving pictures since the last that was black, bars or flat
        self.look: Look | None = None
        self.look_since_ns = 0
        self.fast_since_ns: int | None = None
        self.changing = ""  # the new format, until its first pictures
        self.lost_ns: int | None = None  # since when there has been no picture, once that is a loss
        self.refreshing = False  # the pipeline is new because the picture was frozen
        self.link: Link | None = None
        self.flaps: deque[int] = deque(maxlen=FLAPS)
        self.faults: deque[int] = deque(maxlen=STORM)
        self.failures = 0  # faults in a row
        self.fault = ""
        self.next_build_ns = 0
        self.latched = False

    def see(self, seen: Seen) -> None:
        if seen.changed or self.link not in (None, seen.link):
            self.flaps.append(seen.now_ns)
        self.link = seen.link
        if seen.error or not seen.running:
            self._forget_pictures()
            self.refreshing = False
        elif seen.look not in (None, Look.STALE):
            self._see_picture(seen.look, seen.now_ns)
        self.changing = seen.changed or self.changing
        if self.lost_ns is None and self.silent(seen):
            self.lost_ns = self.picture_ns or self.built_ns
        too_fast = seen.rate > (seen.nominal * RATE_SLACK if seen.nominal else RATE_MOST)
        self.fast_since_ns = (self.fast_since_ns or seen.now_ns) if too_fast else None

    def _see_picture(self, look: Look, now_ns: int) -> None:
        if self.picture_ns is None:
            self.first_picture_ns = now_ns
        self.picture_ns, self.lost_ns = now_ns, None
        if look is Look.MOVING:
            self.moving_ns = now_ns
            self.moving += 1
        elif look is not Look.REPEATED:
            self.moving, self.changing = 0, ""
        elif now_ns - self.moving_ns >= FROZEN_NS:
            self.changing = ""
        if look is not self.look:
            self.look, self.look_since_ns = look, now_ns
        if self.moving > 1:  # a pipeline's first picture has none before it to be compared with
            self.refreshing = False
        if self.moving >= FRESH:
            self.changing, self.latched = "", False
        if now_ns - self.first_picture_ns >= SETTLED_NS:
            self._settled()

    def lasted(self, seen: Seen, look: Look, least_ns: int) -> bool:
        """Every picture has looked like that for so long."""
        return self.look is look and seen.now_ns - self.look_since_ns >= least_ns

    def silent(self, seen: Seen) -> bool:
        """A pipeline plays, and gives nothing."""
        if self.picture_ns is None:
            return seen.running and seen.now_ns - self.built_ns >= self.first_ns
        longest = max(SILENT_NS, round(3 * S / seen.nominal) if seen.nominal else 0)
        return seen.running and seen.now_ns - self.picture_ns >= longest

    def built(self, now_ns: int) -> None:
        """A new pipeline plays."""
        self.built_ns = self.moving_ns = now_ns
        self._forget_pictures()

    def _forget_pictures(self) -> None:
        """Nothing of a pipeline's pictures counts once it is gone."""
        self.picture_ns, self.moving, self.look, self.fast_since_ns = None, 0, None, None

    def failed(self, now_ns: int, why: str) -> None:
        """The pipeline broke, or gave nothing: the next one comes after a while, and a longer one each time."""
        self.faults.append(now_ns)
        self.next_build_ns = now_ns + RETRY_NS[min(self.failures, len(RETRY_NS) - 1)]
        self.failures += 1
        self.fault = why
        if len(self.faults) == STORM and now_ns - self.faults[0] <= STORM_WITHIN_NS:
            self.latched = True
        if self.latched:
            self.next_build_ns = now_ns + STORM_RETRY_NS

    def _settled(self) -> None:
        self.failures, self.fault, self.latched = 0, "", False
        self.faults.clear()
