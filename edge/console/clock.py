"""What time it is, and whether that can be believed. A box without a battery starts in 1970.

Everything that lasts (sessions, waits, lock-outs) is measured on the monotonic clock; the wall clock is for people.
"""

from __future__ import annotations

import ctypes
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIMESYNC = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd makes it once it has heard a server
_TIMEX_BYTES = 512  # struct timex takes 208 on 64-bit Linux; with `modes` 0 adjtimex reads and changes nothing
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


class Wall(NamedTuple):
    """Seconds since 1970, UTC, and whether a time server or another reference stands behind them."""

    at_s: float
    trusted: bool

    def __str__(self) -> str:
        return datetime.fromtimestamp(self.at_s, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Clock(Protocol):
    @property
    def boot(self) -> str:
        """The kernel's boot id: monotonic times of one boot can be compared."""

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC."""

    def wall(self) -> Wall: ...


class SystemClock:
    """This machine's."""

    def __init__(self) -> None:
        self.boot = _BOOT_ID.read_text().strip()

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wall(self) -> Wall:
        return Wall(time.time(), synchronised())


def synchronised() -> bool:
    """Asks the kernel; a sandbox that forbids the question (ProtectClock=) leaves timesyncd's mark."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return _TIMESYNC.exists() if state < 0 else state != _TIME_ERROR
