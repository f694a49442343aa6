"""A wall clock that is set while processes run: `wall_clock.c`, preloaded. Needs gcc.

libfaketime, which is known for this, either moves the clocks that only count up along, or breaks Python's `sleep`
(0.9.10 with Python 3.11).
"""

from __future__ import annotations

import os
import shutil
import struct
import time
from pathlib import Path

from tests.support.compiled import shared

SOURCE = Path(__file__).with_name("wall_clock.c")
YEAR_S = 365.25 * 86400


def missing() -> str:
    """Why there can be no such clock here; "" when there can."""
    return "" if shutil.which("gcc") else "not installed: gcc"


class WallClock:
    """The clock of all processes that are started with `env`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "wall-clock"
        self.move(0)
        library = shared(folder / "libwallclock.so", SOURCE)
        self.env = os.environ | {"LD_PRELOAD": str(library), "WALL_CLOCK": str(self._file)}

    def move(self, seconds: float) -> None:
        """So far from the true time, at once and for everybody."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", round(seconds * 1e9)))

    def boot_in_1970(self) -> None:
        """As on a box without a battery: some seconds after midnight, 1 January 1970."""
        self.move(20 - time.time())
