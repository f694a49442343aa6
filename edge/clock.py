"""What time it is, and whether that can be believed. A box without a battery starts in 1970, and people set clocks.

Order, time-outs, expiry and ages go by CLOCK_MONOTONIC within one boot, and by counters across boots. The wall clock is
for people: wherever it is written down, it stands beside it whether it could be believed. This is the one place that
asks; nothing waits for the answer.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from edge.types import Struct

Source = Literal["systemd-timesyncd", "chrony", "ptp", "other", "none"]
"""Who keeps the clock right. "other": the kernel says that somebody does, and none of those is here."""

_ROOT = Path("/")
_BOOT_ID = "proc/sys/kernel/random/boot_id"
_TIMESYNC = "run/systemd/timesync/synchronized"  # systemd-timesyncd(8) touches it whenever it has heard a server
_KEEPERS: tuple[tuple[Source, str], ...] = (
    ("systemd-timesyncd", _TIMESYNC),
    ("chrony", "run/chrony"),  # chronyd's folder, there while it runs
    ("ptp", "run/ptp4l"),  # ptp4l's socket (its `uds_address`); phc2sys then keeps the system's clock
)
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_WAKES_S = 0.1


class ClockStatus(Struct, frozen=True, kw_only=True):
    """In status files and telemetry."""

    trusted: bool = False  # a time server or another reference stands behind the wall clock
    source: Source = "none"
    error_s: float | None = None  # how far off it may be, as the kernel reckons; null when that is not known


class Wall(NamedTuple):
    """The wall clock's time: seconds since 1970, UTC, and whether it can be believed."""

    at_s: float
    trusted: bool
    source: Source = "none"
    error_s: float | None = None

    def __str__(self) -> str:
        """RFC 3339, UTC."""
        return datetime.fromtimestamp(self.at_s, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @classmethod
    def parse(cls, text: str, trusted: bool) -> Wall:
        """What `str` made. Raises ValueError."""
        return cls(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp(), trusted)

    @property
    def status(self) -> ClockStatus:
        return ClockStatus(trusted=self.trusted, source=self.source, error_s=self.error_s)


class Moment(NamedTuple):
    """One moment by all clocks. `ns` is CLOCK_MONOTONIC, which begins anew with each `boot`."""

    boot: str
    ns: int
    wall: Wall


class Kernel(NamedTuple):
    """What adjtimex says: whether the clock is synchronised, and how far off it may be at most."""

    synchronised: bool
    error_s: float


def read() -> Wall:
    """Now."""
    return judge(time.time(), ask_kernel())


def judge(at_s: float, kernel: Kernel | None, root: Path = _ROOT) -> Wall:
    """The kernel knows best: it forgets that the clock was right as soon as somebody sets it. Where it may not be asked
    (None), systemd-timesyncd's mark is all that there is. `root`: of /run."""
    if kernel is None:
        heard = _there(root / _TIMESYNC)
        return Wall(at_s, heard, "systemd-timesyncd" if heard else "none")
    if not kernel.synchronised:
        return Wall(at_s, False)
    keeper: Source = next((source for source, mark in _KEEPERS if _there(root / mark)), "other")
    return Wall(at_s, True, keeper, kernel.error_s)


def _there(mark: Path) -> bool:
    """A mark that cannot be looked for is not seen: nothing that has to be dated may fail for that."""
    try:
        return mark.exists()
    except OSError:
        return False


def moment() -> Moment:
    """Now."""
    return Moment(boot_id(), time.monotonic_ns(), read())


@functools.cache
def boot_id() -> str:
    """The kernel's: monotonic times of one boot can be compared. Read once: no process outlives its boot."""
    return (_ROOT / _BOOT_ID).read_text().strip()


def date_after(newest_ns: int) -> int:
    """A date for a file that is to be the newest, in ns since 1970: now, or right after the newest that there is where
    the clock has been set back since."""
    return max(time.time_ns(), newest_ns + 1)


def elapsed_s(then: Moment, now: Moment) -> float:
    """How long ago `then` was. Over a restart that is this boot's own length at least, and what lies between the two
    wall clocks where both could be believed."""
    if then.boot == now.boot:
        return (now.ns - then.ns) / 1e9
    known = then.wall.trusted and now.wall.trusted
    return max(now.ns / 1e9, now.wall.at_s - then.wall.at_s if known else 0.0)


def wait(event: threading.Event, seconds: float) -> bool:
    """`event.wait(seconds)`, however the clock is set meanwhile: before Python 3.11 that waits for a wall-clock time,
    and an hour longer when the clock is set back by one (bpo-41710)."""
    if sys.version_info >= (3, 11):
        return event.wait(seconds)
    until_s = time.monotonic() + seconds
    while not event.is_set():
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return False
        time.sleep(min(left_s, _WAKES_S))
    return True


# ------------------------------------------------------------------------------------------- the kernel


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), on 64 bits: what is read of it, and room for the rest (208 bytes in all)."""

    _fields_ = (
        ("modes", ctypes.c_uint),  # 0: nothing is changed
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # µs
        ("rest", ctypes.c_byte * 480),
    )


def ask_kernel() -> Kernel | None:
    """None where a sandbox forbids the question (ProtectClock=, many containers)."""
    timex = _Timex()
    state: int = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    return None if state < 0 else Kernel(state != _TIME_ERROR, timex.maxerror / 1e6)


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
        self.boot = boot_id()

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wall(self) -> Wall:
        return read()
