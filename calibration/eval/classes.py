"""The heads that name something: what they said against what is true, by scikit-learn's formulas.

A class that is not in the set takes no part in means over classes. Every figure comes with a bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score, matthews_corrcoef, recall_score

from calibration.eval import reliability
from calibration.eval.bootstrap import Figure, Resampler, Weights
from calibration.eval.segmentation import Report, flat
from edge.errors import ModelError
from edge.heads import ordinal, softmax
from edge.types import ModelHead

DRAWS = 300  # of the bootstrap: each draw asks scikit-learn five times
READERS = {"classify": softmax, "ordinal": ordinal.probabilities}  # kinds of heads that name something

Labels = NDArray[np.intp]


def probabilities(logits: NDArray[Any], head: ModelHead) -> list[float]:
    """One output (1, K) as the probability of each label, as the box reads it. ModelError when it does not fit."""
    said: list[float] = READERS[head.kind](np.asarray(logits, np.float64).ravel().tolist())
    if not said:
        raise ModelError(f"head {head.name}: its output {head.output} is not a number, or endless")
    if len(said) != len(head.labels):
        raise ModelError(f"head {head.name}: {len(said)} classes for {len(head.labels)} labels: {head.labels}")
    return said


def balanced_accuracy(true: Labels, found: Labels, weights: Weights) -> float:
    """Mean recall of the classes that are there."""
    return _known(recall_score(true, found, labels=_present(true, weights), average="macro", sample_weight=weights))


def macro_f1(true: Labels, found: Labels, weights: Weights) -> float:
    """Mean F1 of the classes that are there or were said to be."""
    there = sorted({*_present(true, weights), *_present(found, weights)})
    return _known(f1_score(true, found, labels=there, average="macro", zero_division=0.0, sample_weight=weights))


def matthews(true: Labels, found: Labels, weights: Weights) -> float:
    """Matthews' correlation of many classes (Gorodkin's R_K)."""
    return _known(matthews_corrcoef(true, found, sample_weight=weights))


def weighted_kappa(true: Labels, found: Labels, weights: Weights) -> float:
    """Quadratically weighted kappa; NaN where all is one label, for chance then explains everything."""
    if len({*_present(true, weights), *_present(found, weights)}) < 2:
        return float("nan")
    places = np.arange(max(true.max(), found.max()) + 1)  # all of them: the weights are distances of places
    return _known(cohen_kappa_score(true, found, labels=places, weights="quadratic", sample_weight=weights))


Measure = Callable[[Labels, Labels, Weights], float]
FIGURES: dict[str, Measure] = {
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "mcc": matthews,
}
ORDINAL: dict[str, Measure] = {"qwk": weighted_kappa}


def report(head: ModelHead, said: NDArray[np.float64], true: Sequence[int], groups: Sequence[str]) -> Report:
    """The figures of one head. `said` (N, K): probabilities; `true`: the right label's place for each."""
    draws = Resampler(groups, DRAWS)
    truth, found = np.asarray(true, np.intp), np.asarray(said.argmax(1), np.intp)
    places = range(len(head.labels))
    wanted = {**FIGURES, **(ORDINAL if head.kind == "ordinal" else {})}

    def drawn(figure: Measure) -> Figure:
        return draws.weighted(lambda weights: figure(truth, found, weights))

    confidence = said[np.arange(len(found)), found]
    tables = [reliability.table([c], [t == f]) for c, t, f in zip(confidence, truth, found, strict=True)]
    figures: Report = {"n": len(truth), "labels": head.labels}
    for name, figure in wanted.items():
        figures |= flat(name, drawn(figure))
    figures["f1"] = {label: flat("f1", drawn(_of_class(place))) for place, label in enumerate(head.labels)}
    figures["confusion"] = confusion_matrix(truth, found, labels=places).tolist()  # rows: true, columns: said
    figures |= flat("ece", draws.of_sums(tables, reliability.expected_error))
    figures["reliability"] = [list(row) for row in reliability.diagram(np.sum(tables, 0))]
    figures["interval_draws"] = draws.unit
    return figures


def _of_class(place: int) -> Measure:
    """F1 of one class; NaN where it neither is nor was said."""

    def figure(true: Labels, found: Labels, weights: Weights) -> float:
        is_it, said_it = (true == place).astype(float), (found == place).astype(float)
        both, either = float(weights @ (is_it * said_it)), float(weights @ (is_it + said_it))
        return 2 * both / either if either else float("nan")

    return figure


def _present(labels: Labels, weights: Weights) -> list[int]:
    return sorted(set(labels[weights > 0].tolist()))


def _known(value: Any) -> float:
    return float(value)
