"""Does 0.8 mean eight times in ten? Reliability bins and the expected calibration error (Guo et al. 2017, equation 3).

A table of bins (BINS, 3) counts what fell into each of BINS equal bins of probability: how many, the sum of their
probabilities, how many were true. Tables of pictures add up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15
Table = NDArray[np.float64]  # (BINS, 3)


def table(probabilities: ArrayLike, truth: ArrayLike) -> Table:
    """Bins of probabilities 0..1 and what was true of each, any shape."""
    p, t = np.asarray(probabilities, np.float64).ravel(), np.asarray(truth, np.float64).ravel()
    place = np.minimum((p * BINS).astype(np.intp), BINS - 1)
    return np.stack([np.bincount(place, weights, BINS) for weights in (np.ones_like(p), p, t)], 1)


def expected_error(bins: NDArray[np.float64]) -> NDArray[np.float64]:
    """ECE of tables (..., BINS, 3): mean distance between said and true, each bin weighted by how much fell into it.

    NaN where nothing did.
    """
    total = bins[..., 0].sum(-1)
    off = np.abs(bins[..., 1] - bins[..., 2]).sum(-1)
    return np.asarray(np.divide(off, total, out=np.full(np.shape(total), np.nan), where=total > 0), np.float64)


def diagram(bins: Table) -> list[tuple[float, float, int]]:
    """(mean probability said, share that was true, count) of every bin that is not empty."""
    return [(float(p / n), float(t / n), int(n)) for n, p, t in bins if n]
