"""A board, read once a second in a thread of its own: a sensor behind a slow bus may not hold up a frame."""

from __future__ import annotations

import threading
import time

from edge import clock
from edge.board import Board
from edge.types import BoardReading

EVERY_S = 1.0
STALE_NS = 5_000_000_000  # an older reading is not of now: a driver hangs


class Watch:
    """`latest` may be asked from any thread."""

    def __init__(self, board: Board, every_s: float = EVERY_S) -> None:
        self._board, self._every_s = board, every_s
        self._reading: BoardReading | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="board", daemon=True)
        self._thread.start()

    @property
    def latest(self) -> BoardReading | None:
        """None before the first, and when the newest is stale."""
        reading = self._reading
        return reading if reading is not None and time.monotonic_ns() - reading.read_ns < STALE_NS else None

    def close(self) -> None:
        """A thread that hangs in a driver is left behind."""
        self._stop.set()
        self._thread.join(self._every_s)

    def _run(self) -> None:
        while True:
            self._reading = self._board.read()
            if clock.wait(self._stop, self._every_s):
                return
