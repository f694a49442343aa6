"""The heads that name something: what they said against what is true.

All figures are functions of confusion matrices, a thousand at once for the intervals; scikit-learn's, which take one
list of labels at a time, are what the tests compare them with. A class that is not in the set takes no part in means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.eval import reliability
from calibration.eval.bootstrap import Resampler
from calibration.eval.segmentation import Report, flat
from edge.errors import ModelError
from edge.heads import ordinal, softmax
from edge.types import ModelHead

READERS = {"classify": softmax, "ordinal": ordinal.probabilities}  # kinds of heads that name something

Counts = NDArray[np.float64]  # confusion matrices (..., K, K): true by row, said by column
Values = NDArray[np.float64]


def probabilities(logits: NDArray[Any], head: ModelHead) -> list[float]:
    """One output (1, K) as the probability of each label, as the box reads it. ModelError when it does not fit."""
    said: list[float] = READERS[head.kind](np.asarray(logits, np.float64).ravel().tolist())
    if not said:
        raise ModelError(f"head {head.name}: its output {head.output} is not a number, or endless")
    if len(said) != len(head.labels):
        raise ModelError(f"head {head.name}: {len(said)} classes for {len(head.labels)} labels: {head.labels}")
    return said


def balanced_accuracy(counts: Counts) -> Values:
    """Mean recall of the classes that are there."""
    return _mean(_shares(_hits(counts), counts.sum(-1)))


def f1(counts: Counts) -> Values:
    """F1 of each class (..., K); NaN for one that neither is there nor was said."""
    return _shares(2 * _hits(counts), counts.sum(-1) + counts.sum(-2))


def macro_f1(counts: Counts) -> Values:
    """Mean F1 of the classes that are there or were said."""
    return _mean(f1(counts))


def matthews(counts: Counts) -> Values:
    """Matthews' correlation of many classes (Gorodkin 2004, R_K); 0 where all is one class."""
    true, said, total = counts.sum(-1), counts.sum(-2), counts.sum((-1, -2))
    above = total * _hits(counts).sum(-1) - (true * said).sum(-1)
    below = np.sqrt((total**2 - (true**2).sum(-1)) * (total**2 - (said**2).sum(-1)))
    return np.nan_to_num(_shares(above, below))


def weighted_kappa(counts: Counts) -> Values:
    """Quadratically weighted kappa (Cohen 1968); NaN where all is one class, for chance then explains everything."""
    places = np.arange(counts.shape[-1])
    distance = (places[:, None] - places) ** 2
    chance = counts.sum(-1)[..., :, None] * counts.sum(-2)[..., None, :]
    observed = (distance * counts).sum((-1, -2)) * counts.sum((-1, -2))
    return 1 - _shares(observed, (distance * chance).sum((-1, -2)))


def _hits(counts: Counts) -> Values:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _shares(part: Values, whole: Values) -> Values:
    """NaN where there is nothing to have a share of."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0), np.float64)


def _mean(of_classes: Values) -> Values:
    known = np.isfinite(of_classes)
    return _shares(np.where(known, of_classes, 0.0).sum(-1), known.sum(-1))


FIGURES: dict[str, Callable[[Counts], Values]] = {
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "mcc": matthews,
}
ORDINAL: dict[str, Callable[[Counts], Values]] = {"qwk": weighted_kappa}


def report(head: ModelHead, said: NDArray[np.float64], true: Sequence[int], groups: Sequence[str]) -> Report:
    """The figures of one head. `said` (N, K): probabilities; `true`: the right label's place for each."""
    draws = Resampler(groups)
    truth, found = np.asarray(true, np.intp), np.asarray(said.argmax(1), np.intp)
    count = len(head.labels)
    each = np.zeros((len(truth), count, count))  # every picture's own confusion matrix: true by row, said by column
    each[np.arange(len(truth)), truth, found] = 1.0
    wanted = {**FIGURES, **(ORDINAL if head.kind == "ordinal" else {})}
    confidence = said[np.arange(len(found)), found]
    tables = [reliability.table([c], [t == f]) for c, t, f in zip(confidence, truth, found, strict=True)]
    figures: Report = {"n": len(truth), "labels": head.labels}
    for name, figure in wanted.items():
        figures |= flat(name, draws.of_sums(each, figure))
    figures["f1"] = {label: flat("f1", draws.of_sums(each, _f1_of(place))) for place, label in enumerate(head.labels)}
    figures["confusion"] = each.sum(0).astype(int).tolist()
    figures |= flat("ece", draws.of_sums(tables, reliability.expected_error))
    figures["reliability"] = [list(row) for row in reliability.diagram(np.sum(tables, 0))]
    figures["interval_draws"] = draws.unit
    return figures


def _f1_of(place: int) -> Callable[[Counts], Values]:
    return lambda counts: f1(counts)[..., place]
