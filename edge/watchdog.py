"""Proof of life: rows that say which progress is owed, and the pulse that systemd's watchdog hears. The rows are pure.

A pulse is beaten by the very loop that it vouches for, right after the loop has looked, and by nothing else: a loop
that hangs (in a driver, on a stalled disk) beats none, and systemd ends it after `WatchdogSec`. A loop that turns and
yet gets nowhere breaks a row, and says so at once. What a restart cannot mend (no signal, a full disk, a broker that is
away) breaks none: it is a state, and shown as the service's status.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from edge.systemd import Notifier
from edge.types import SignalState

log = logging.getLogger(__name__)

S = 1_000_000_000  # ns
BEAT_NS = S // 2  # often enough for a WatchdogSec of 2 s, and nothing beside a frame's work


class Beat(Protocol):
    """What a loop knows when it has turned."""

    @property
    def now_ns(self) -> int:
        """CLOCK_MONOTONIC."""


B = TypeVar("B", bound=Beat)


@dataclass(frozen=True)
class Row(Generic[B]):
    """`progress` has to change at least every `patience_s` for as long as it is `owed`."""

    what: str  # is wrong when it does not
    owed: Callable[[B], bool]
    progress: Callable[[B], Hashable]
    patience_s: float


class Rows(Generic[B]):
    """Which row is broken. Pure: time comes with the beat."""

    def __init__(self, rows: Sequence[Row[B]]) -> None:
        self._rows = rows
        self._since: dict[str, tuple[Hashable, int]] = {}  # row → its progress, and since when it is that

    def step(self, beat: B) -> str:
        """What is wrong; "" when all that is owed was seen."""
        for row in self._rows:
            if not row.owed(beat):
                self._since.pop(row.what, None)
                continue
            progress = row.progress(beat)
            before, since_ns = self._since.get(row.what, (None, 0))
            if row.what not in self._since or before != progress:
                self._since[row.what] = progress, beat.now_ns
            elif beat.now_ns - since_ns > row.patience_s * S:
                return f"{row.what} for {(beat.now_ns - since_ns) / S:.0f} s"
        return ""


# ------------------------------------------------------------------------------------------------ core

CHANGING = (SignalState.STARTING, SignalState.FORMAT_CHANGED)
"""States that are on the way to another one. All others but `live` may last a night and be honest."""


class CoreBeat(NamedTuple):
    now_ns: int
    state: SignalState
    analysed: int  # frames that went through the model and the rules since the start


CORE_ROWS: tuple[Row[CoreBeat], ...] = (
    Row(
        "the signal is live, but no frame was analysed",
        owed=lambda beat: beat.state is SignalState.LIVE,
        progress=lambda beat: beat.analysed,
        patience_s=10,
    ),
    # Longer than the longest search for a field (10 s) after the slowest driver's first picture.
    Row(
        "a change of the signal's state does not come to its end",
        owed=lambda beat: beat.state in CHANGING,
        progress=lambda beat: beat.analysed,
        patience_s=60,
    ),
)


# ---------------------------------------------------------------------------------------------- uplink


class UplinkBeat(NamedTuple):
    now_ns: int
    connected: bool
    attempts: int  # at a connection since the start
    depth: int  # messages in the outbox; -1 while it cannot be read
    delivered: int  # since the start
    trouble: str  # what is known to be in the way; "" for nothing


def uplink_rows(retry_max_s: float) -> tuple[Row[UplinkBeat], ...]:
    """`retry_max_s`: the longest that `[uplink]` waits between two attempts."""
    return (
        Row(
            "not connected, and no attempt was made",
            owed=lambda beat: not beat.connected,
            progress=lambda beat: beat.attempts,
            patience_s=retry_max_s + 30,
        ),
        # Longer than it takes to find that a broker owes an answer (30 s) and to begin anew with it.
        Row(
            "messages wait, nothing is known to be in their way, and none was delivered",
            owed=lambda beat: beat.connected and beat.depth > 0 and not beat.trouble,
            progress=lambda beat: beat.delivered,
            patience_s=120,
        ),
    )


# ----------------------------------------------------------------------------------------------- pulse


class Pulse(Generic[B]):
    """Owner: the thread of the loop that it vouches for."""

    def __init__(
        self, notifier: Notifier, rows: Sequence[Row[B]], ready: Callable[[B], bool] = lambda _beat: True
    ) -> None:
        """`ready`: whether the service does, from this beat on, what it is there for."""
        self._notifier, self._rows, self._ready = notifier, Rows(rows), ready
        self._told_ready = self._failed = False
        self._due_ns = 0

    def beat(self, beat: B, words: Callable[[], str]) -> str:
        """Call at every turn, `words`: the service's status for people. What is wrong; "" when nothing is."""
        trouble = self._rows.step(beat)
        if trouble:
            if not self._failed:
                self._failed = True
                log.critical("%s: ends, to be started again", trouble)
                self._notifier.say("WATCHDOG=trigger", f"STATUS={trouble}")
            return trouble
        if not self._told_ready and self._ready(beat):
            self._told_ready = True
            self._due_ns = beat.now_ns
            self._notifier.say("READY=1")
        if beat.now_ns >= self._due_ns:
            self._due_ns = beat.now_ns + BEAT_NS
            self._notifier.say("WATCHDOG=1", f"STATUS={words()}")
        return ""
