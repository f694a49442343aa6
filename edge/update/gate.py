"""Whether a release on trial is as good as the one before. Pure: samples come once a second, with their time.

It holds when all of `lacks` was empty for `seconds`, or for `frames` analysed pictures, without a break, and the
self-test passed. What would be so again at the next try (`certain`) ends it at once; everything else may pass, as long
as there is time. Who never hears from a gate (the release hangs) goes back by itself: `slot watch`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from msgspec import Meta

from edge.types import SignalState, Struct
from edge.update.state import Health

SLOWER = 0.8  # of the rate before, at least
LONGER, LONGER_MS = 2.0, 20.0  # of the slowest stage's 99th percentile before, at most; and never less than this more
STARTS = 3  # of the core within one trial: it is not kept up
GIVES_UP_S = 3.0  # before the system does: the reason is known here


class Needs(Struct, frozen=True, kw_only=True):
    """Part of `[update]`."""

    healthy_s: Annotated[float, Meta(ge=1, le=3600)] = 120.0
    healthy_frames: Annotated[int, Meta(ge=1, le=1_000_000)] = 3000


class Sample(NamedTuple):
    """How things stand. `core_pid` 0: it says nothing of itself just now."""

    at_s: float  # CLOCK_BOOTTIME
    core_pid: int = 0
    version: str = ""  # that the core says it is of
    state: SignalState = SignalState.STARTING
    fps: float = 0.0
    frames: int = 0  # analysed since the core's start
    p99_ms: float = 0.0
    connected: bool = False
    safe: str = ""  # why the box is in its safe state
    tested: bool | None = None  # the self-test; None: not yet
    test_words: str = ""


class Hold(NamedTuple):
    pass


class Back(NamedTuple):
    why: str
    certain: bool


class Wait(NamedTuple):
    healthy_s: float
    lacks: str  # "" when nothing does


class Gate:
    """Owner: the updater's thread."""

    def __init__(self, needs: Needs, version: str, before: Health, until_s: float) -> None:
        """`until_s`: CLOCK_BOOTTIME; then the system goes back."""
        self._needs, self._version, self._before, self._until_s = needs, version, before, until_s
        self._since_s: float | None = None  # of health
        self._frames = 0  # at that time
        self._pids: list[int] = []

    def step(self, seen: Sample) -> Hold | Back | Wait:
        if seen.core_pid and seen.core_pid not in self._pids:
            self._pids.append(seen.core_pid)
            self._since_s = None
        if certain := self._certain(seen):
            return Back(certain, True)
        lacks = next(self._lacks(seen), "")
        if lacks:
            self._since_s = None
        elif self._since_s is None:
            self._since_s, self._frames = seen.at_s, seen.frames
        healthy_s = seen.at_s - self._since_s if self._since_s is not None else 0.0
        enough = healthy_s >= self._needs.healthy_s or seen.frames - self._frames >= self._needs.healthy_frames
        if self._since_s is not None and enough and seen.tested:
            return Hold()
        lacks = lacks or ("the self-test has not ended" if enough and seen.tested is None else "")
        if seen.at_s >= self._until_s - GIVES_UP_S:
            return Back(lacks or f"it was healthy for {healthy_s:.0f} s only", False)
        return Wait(healthy_s, lacks)

    def _certain(self, seen: Sample) -> str:
        if seen.safe:
            return seen.safe
        if len(self._pids) >= STARTS:
            return f"the core was started {len(self._pids)} times"
        return f"the self-test failed: {seen.test_words}" if seen.tested is False else ""

    def _lacks(self, seen: Sample) -> Iterator[str]:
        before = self._before
        if not seen.core_pid:
            yield "the core says nothing of itself"
            return
        if seen.version != self._version:
            yield f"the core is of release {seen.version}, not {self._version}"
        if seen.state in (SignalState.STARTING, SignalState.FAILED):
            yield f"the signal is {seen.state.value}"
        if before.live:
            yield from self._pictures(seen)
        if before.connected and not seen.connected:
            yield "the broker is not reached, and was before"

    def _pictures(self, seen: Sample) -> Iterator[str]:
        before = self._before
        if seen.state is not SignalState.LIVE:
            yield f"the signal is {seen.state.value}, and was live before"
        elif seen.fps < SLOWER * before.fps:
            yield f"{seen.fps:.1f} frames a second, {before.fps:.1f} before"
        elif seen.p99_ms > max(LONGER * before.p99_ms, before.p99_ms + LONGER_MS):
            yield f"a frame takes up to {seen.p99_ms:.0f} ms, {before.p99_ms:.0f} before"
