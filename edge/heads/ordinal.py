"""A grade for the whole picture, from cumulative logits: the Mayo endoscopic score.

The labels rise. Logit i answers "is it above label i?" (Frank and Hall 2001; Cao, Mirjalili and Raschka 2020), so there
is one label more than logits, and a doubt between neighbours stays between neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Annotated

from msgspec import Meta

from edge.heads import Array, labels_of, most_probable, require
from edge.types import Classification, Field, ModelHead, Struct, TensorSpec


class Config(Struct, frozen=True, kw_only=True):
    """Which output, and how sure it must be."""

    output: str = "mayo"
    min_score: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    """A less probable grade is not said."""


def open(config: Config, outputs: tuple[TensorSpec, ...], heads: Sequence[ModelHead] = ()) -> Ordinal:
    """ModelError when the model has no such logits, or not one label more."""
    spec = require("ordinal", outputs, config.output, (1, None))
    return Ordinal(config, labels_of("ordinal", heads, spec, "ordinal", more=1))


class Ordinal:
    """Keeps nothing between frames."""

    fills = "classifications"

    def __init__(self, config: Config, labels: tuple[str, ...]) -> None:
        self.name = config.output
        self.labels = labels
        self._min_score = config.min_score

    def decode(self, outputs: Mapping[str, Array], _field: Field) -> tuple[Classification, ...]:
        """The most probable grade, the lowest of equals; nothing when it is unsure or not a number."""
        scores = probabilities(outputs[self.name][0].tolist())
        place = most_probable(scores, self._min_score)
        if place is None:
            return ()
        grade = sum(step * share for step, share in enumerate(scores))
        return (Classification(head=self.name, label=self.labels[place], score=scores[place], grade=grade),)


def probabilities(logits: list[float]) -> list[float]:
    """Of each grade, one more than logits; they add up to 1. None when a logit is not a number, or endless.

    Above grade i + 1 cannot be more probable than above grade i: where the logits say so, the lower one counts.
    """
    if not all(map(math.isfinite, logits)):
        return []
    above = [1.0, *accumulate(map(_sigmoid, logits), min), 0.0]
    return [lower - higher for lower, higher in pairwise(above)]


def _sigmoid(logit: float) -> float:
    return 0.5 + 0.5 * math.tanh(0.5 * logit)  # exp would overflow
