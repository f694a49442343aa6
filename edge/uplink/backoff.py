"""How long to wait before the next try: doubling, bounded, jittered so that a hundred boxes do not return at once."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    def __init__(self, min_s: float, max_s: float, jitter: Callable[[], float] = random.random) -> None:
        """`jitter`: uniform in [0, 1)."""
        self._min_s, self._max_s, self._jitter = min_s, max_s, jitter
        self._delay_s = min_s

    def next(self, *, slowly: bool = False) -> float:
        """Seconds to wait: between half and all of the current delay (`slowly`: of the longest)."""
        delay_s = self._max_s if slowly else self._delay_s
        self._delay_s = min(2 * self._delay_s, self._max_s)
        return delay_s * (0.5 + 0.5 * self._jitter())

    def reset(self) -> None:
        self._delay_s = self._min_s
