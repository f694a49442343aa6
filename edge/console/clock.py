"""The console's clock. Everything that lasts (sessions, waits, lock-outs) is measured on the monotonic one; the wall
clock is for people, and `edge/clock.py` knows whether it can be believed.
"""

from __future__ import annotations

import time
from typing import Protocol

from edge import clock
from edge.clock import Wall


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
        self.boot = clock.boot_id()

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wall(self) -> Wall:
        return clock.read()
