"""A score over time, in little room: however long it lasts, at most `MOST` figures."""

from __future__ import annotations

MOST = 60
FINEST_NS = 250_000_000


class Curve:
    """The best score of each slot of time from `since_ns` on. A slot without any is 0.

    When `MOST` slots do not reach far enough, pairs become one and a slot lasts twice as long: the best of all is kept.
    """

    __slots__ = ("_since_ns", "_slots", "every_ns")

    def __init__(self, since_ns: int) -> None:
        self._since_ns = since_ns
        self._slots: list[float] = []
        self.every_ns = FINEST_NS
        """How long a slot lasts."""

    @property
    def slots(self) -> tuple[float, ...]:
        """From `since_ns` to the slot of the last score."""
        return tuple(self._slots)

    def add(self, ns: int, score: float) -> None:
        """`ns`: not before `since_ns`."""
        while (slot := (ns - self._since_ns) // self.every_ns) >= MOST:
            self._slots = [max(self._slots[at : at + 2]) for at in range(0, len(self._slots), 2)]
            self.every_ns *= 2
        self._slots += [0.0] * (slot + 1 - len(self._slots))
        self._slots[slot] = max(self._slots[slot], score)
