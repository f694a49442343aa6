"""One label for the whole picture, from logits: a landmark, the bowel's preparation, a finding's class.

One frame is judged alone. What lasts over time is for `edge.decide`; here an unsure answer is no answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import Meta

from edge.heads import Array, labels_of, most_probable, require, softmax
from edge.types import Classification, Field, ModelHead, Struct, TensorSpec


class Config(Struct, frozen=True, kw_only=True):
    """Which output, and how sure it must be."""

    output: str = "landmark"
    min_score: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    """A less probable label is not said."""


def open(config: Config, outputs: tuple[TensorSpec, ...], heads: Sequence[ModelHead] = ()) -> Classify:
    """ModelError when the model has no such logits, or no labels for them."""
    spec = require("classify", outputs, config.output, (1, None))
    return Classify(config, labels_of("classify", heads, spec, "classify"))


class Classify:
    """Keeps nothing between frames."""

    fills = "classifications"

    def __init__(self, config: Config, labels: tuple[str, ...]) -> None:
        self.name = config.output
        self.labels = labels
        self._min_score = config.min_score

    def decode(self, outputs: Mapping[str, Array], _field: Field) -> tuple[Classification, ...]:
        """The most probable label, the first of equals; nothing when it is unsure or not a number."""
        scores = softmax(outputs[self.name][0].tolist())
        place = most_probable(scores, self._min_score)
        if place is None:
            return ()
        return (Classification(head=self.name, label=self.labels[place], score=scores[place]),)
