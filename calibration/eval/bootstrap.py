"""How sure a figure is: the same figure on 1000 sets drawn again from the one at hand, with replacement.

Whole groups (a patient, a sequence) are drawn where there are enough of them: frames of one polyp are one observation,
and drawing them singly would make any interval look narrow. One Resampler serves all figures of a set, so that two
encodings see the same draws and their difference is a paired one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS, SEED = 1000, 20
FEWEST_GROUPS = 5
TAILS = (2.5, 97.5)  # percentiles: a 95 % interval

AT_ONCE = 100  # draws worked on together: a table of draws by pictures can be large

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # one value for each set: (sets, ...) to (sets,)


class Figure(NamedTuple):
    """A value with its 95 % interval. None: there was nothing to measure it on."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Resampler:
    """Draws of a set whose pictures belong to `groups` (one name for each picture)."""

    def __init__(self, groups: Sequence[str], draws: int = DRAWS, seed: int = SEED) -> None:
        names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        self.unit = "group" if len(names) >= FEWEST_GROUPS else "picture"
        self._index = index if self.unit == "group" else np.arange(len(groups))
        self._units = int(self._index.max()) + 1 if len(groups) else 0
        drawn = np.random.default_rng(seed).integers(0, max(1, self._units), (draws, self._units))
        self._counts = np.zeros((draws, self._units))  # how often each unit is in each draw
        np.add.at(self._counts, (np.arange(draws)[:, None], drawn), 1.0)

    def sums(self, values: ArrayLike) -> NDArray[np.float64]:
        """Sum over every draw's pictures: (pictures, ...) to (draws, ...)."""
        of_picture = np.asarray(values, np.float64)
        of_unit = np.zeros((self._units, *of_picture.shape[1:]))
        np.add.at(of_unit, self._index, of_picture)
        return np.tensordot(self._counts, of_unit, 1)

    def ratio(self, above: ArrayLike, below: ArrayLike) -> Figure:
        """sum(above) / sum(below), both (pictures,): a mean, a rate."""
        total = float(np.sum(below))
        if total == 0:
            return Figure(None)
        tops, bottoms = self.sums(above), self.sums(below)
        return self._figure(float(np.sum(above)) / total, tops[bottoms > 0] / bottoms[bottoms > 0])

    def of_sums(self, values: ArrayLike, figure: Statistic) -> Figure:
        """`figure` of the sum of values (pictures, ...): of a confusion matrix, of a table of bins."""
        point = figure(np.asarray(values, np.float64).sum(0)[None])
        return self._figure(float(point[0]), figure(self.sums(values)))

    def weighted(self, figure: Statistic) -> Figure:
        """`figure` of how often each picture is in the set (sets, pictures); 1 each for the set itself."""
        point = figure(np.ones((1, len(self._index))))
        parts = np.array_split(self._counts, max(1, len(self._counts) // AT_ONCE))
        return self._figure(float(point[0]), np.concatenate([figure(counts[:, self._index]) for counts in parts]))

    def _figure(self, value: float, draws: NDArray[np.float64]) -> Figure:
        """Percentiles, widened to hold the value itself: a biased figure (ECE, AP of few) may lie outside its draws.

        One observation has no interval.
        """
        known = draws[np.isfinite(draws)]
        if not math.isfinite(value):
            return Figure(None)
        if not known.size or self._units < 2:
            return Figure(value)
        low, high = np.percentile(known, TAILS)
        return Figure(value, min(float(low), value), max(float(high), value))
