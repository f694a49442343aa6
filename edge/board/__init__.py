"""What the machine says of itself: temperatures, power, clocks, throttling. One file per kind of machine.

`edge/board/NAME.py` has `open(root) -> Board`. All of it is files under `/sys`, `/etc` and `/var`,
so that a recorded tree under another root is as good as the machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edge.board import jetson, pc
from edge.types import BoardReading


class Board(Protocol):
    kind: str

    def read(self) -> BoardReading:
        """Never raises: what cannot be read is None. Counters count from one reading to the next, so one owner only.
        May take long (a sensor behind a slow bus), so not in the core loop's thread."""


def open(root: Path = Path("/")) -> Board:
    """The machine whose files are under `root`."""
    return jetson.open(root) if jetson.is_here(root) else pc.open(root)
