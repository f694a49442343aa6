"""Where a frame's time goes: laps of the core loop, kept in a ring, summed up when somebody asks."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

import numpy as np

KEPT = 4096  # laps of each stage that percentiles are taken from: 68 s at 60 fps


class Stages:
    """Wall time of each stage of one loop. Owner: the loop's thread. `lap` costs well under a microsecond."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._index = {name: i for i, name in enumerate(names)}
        self._ring = np.zeros((len(names), KEPT), dtype=np.int64)
        self._count = [0] * len(names)
        self._total_ns = [0] * len(names)
        self._since_ns = 0

    def start(self) -> None:
        self._since_ns = time.perf_counter_ns()

    def lap(self, name: str, waiting: tuple[str, int] | None = None) -> None:
        """The time since the last `start` or `lap` went into `name`, but for the part spent `waiting` (stage, ns)."""
        now_ns = time.perf_counter_ns()
        spent_ns = now_ns - self._since_ns
        if waiting is not None:
            self._add(*waiting)
            spent_ns -= waiting[1]
        self._add(name, spent_ns)
        self._since_ns = now_ns

    def _add(self, name: str, spent_ns: int) -> None:
        stage = self._index[name]
        self._ring[stage, self._count[stage] % KEPT] = spent_ns
        self._count[stage] += 1
        self._total_ns[stage] += spent_ns

    def recent_ns(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The last laps of a stage, oldest ones overwritten first; order not kept."""
        stage = self._index[name]
        return self._ring[stage, : min(self._count[stage], KEPT)]

    def total_s(self, name: str) -> float:
        return self._total_ns[self._index[name]] / 1e9

    def percentiles_ms(self, name: str, points: Sequence[float] = (50, 99)) -> list[float]:
        """Zeros before the first lap."""
        recent = self.recent_ns(name)
        if not len(recent):
            return [0.0] * len(points)
        return [round(float(value) / 1e6, 4) for value in np.percentile(recent, points)]


def settle() -> None:
    """Call when everything is set up: what lives now lives on, so the garbage collector need not visit it again in the
    middle of a frame."""
    gc.collect()
    gc.freeze()
