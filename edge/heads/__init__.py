"""What the model's outputs mean: one file per head, found by its name.

`edge/heads/NAME.py` has a frozen `Config` (every field with a default, and a range) and
`open(config, outputs, heads) -> Head`. A pipeline's `[[heads]]` table says `kind = "NAME"`; its other keys are that
`Config`. What an output's channels are called is the model's to say (`[[heads]]` of `model.toml`), never the
pipeline's. Adding a head is adding a file: nothing here names one.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import ConfigError, ModelError
from edge.types import Classification, Detection, Field, Findings, Frame, ModelHead, Quality, TensorSpec

Array = npt.NDArray[Any]


class Head(Protocol):
    """Reads a few outputs of the model. Used from the core loop's thread; keeps no reference to `outputs`."""

    fills: str
    """The field of `Findings` that this head fills: "detections" (heads add up), "classifications" (heads add up, each
    with an output of its own) or "quality" (one head at most)."""

    name: str
    """The output that it is about: what `Classification.head` says."""

    labels: tuple[str, ...]
    """All that it may ever say; none of a head that judges the picture."""

    def decode(
        self, outputs: Mapping[str, Array], field: Field
    ) -> tuple[Detection, ...] | tuple[Classification, ...] | Quality:
        """`outputs` as promised by the specs given to `open`; any float in them, NaN and inf too. Never raises."""


class Heads:
    """All heads of a pipeline, in its order."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self._heads = tuple(heads)
        # What finds regions, and what judges the view that they count in, is never spared; nor is the only purpose.
        spare = any(head.fills == "detections" for head in heads)
        self._primary = tuple(head for head in heads if not spare or head.fills != "classifications")
        self._every, self._turn = 1, 0

    def spare(self, every: int) -> None:
        """From now on the heads that judge whole pictures are asked at every `every`-th frame; at none for 0."""
        self._every, self._turn = every, 0

    def said(self, fills: str) -> dict[str, tuple[str, ...]]:
        """Head → labels, of the heads that fill this field of `Findings`: what rules may be about."""
        said: dict[str, tuple[str, ...]] = {}
        for head in self._heads:
            if head.fills == fills:
                said[head.name] = said.get(head.name, ()) + head.labels
        return said

    def decode(self, outputs: Mapping[str, Array], frame: Frame) -> Findings:
        """What the model said of `frame`. Only the frame's numbers and field are read, never its picture."""
        detections: list[Detection] = []
        classifications: list[Classification] = []
        quality = None
        self._turn += 1
        asked = self._primary == self._heads or (self._every > 0 and self._turn % self._every == 0)
        for head in self._heads if asked else self._primary:
            found = head.decode(outputs, frame.field)
            if isinstance(found, Quality):
                quality = found
                continue
            for one in found:
                if isinstance(one, Classification):
                    classifications.append(one)
                else:
                    detections.append(one)
        return Findings(
            seq=frame.seq,
            captured_ns=frame.captured_ns,
            media_ns=frame.media_ns,
            detections=tuple(detections),
            classifications=tuple(classifications),
            quality=quality,
            spared=not asked,
        )


def kinds() -> tuple[str, ...]:
    """The heads there are: the files of this folder."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def open_all(
    tables: Iterable[Mapping[str, Any]], outputs: tuple[TensorSpec, ...], heads: Sequence[ModelHead] = ()
) -> Heads:
    """The heads of a pipeline on a model with these outputs, called so by its manifest's `heads`.

    ConfigError, or ModelError when the model does not fit.
    """
    opened: list[Head] = []
    for place, table in enumerate(tables):
        head = _open(f"heads[{place}]", table, outputs, heads)
        for other in opened:
            if head.fills == other.fills == "quality":
                raise ConfigError(f"heads[{place}]: another head already judges the picture; keep one of them")
            if head.fills == other.fills == "classifications" and head.name == other.name:
                raise ConfigError(f'heads[{place}]: another head already reads "{head.name}"; keep one of them')
        opened.append(head)
    return Heads(opened)


def require(head: str, outputs: tuple[TensorSpec, ...], name: str, shape: tuple[int | None, ...]) -> TensorSpec:
    """The float32 output `name` of this shape (None: any size), or a ModelError that names all three."""
    expected = f"float32 ({', '.join('any' if size is None else str(size) for size in shape)})"
    spec = next((spec for spec in outputs if spec.name == name), None)
    if spec is None:
        has = ", ".join(spec.name for spec in outputs) or "none"
        raise ModelError(f'head {head}: expected an output "{name}", {expected}; the model\'s outputs are: {has}')
    fits = len(spec.shape) == len(shape) and all(
        size > 0 and wanted in (None, size) for size, wanted in zip(spec.shape, shape, strict=True)
    )
    if spec.dtype != np.dtype(np.float32).name or not fits:
        raise ModelError(f'head {head}: output "{name}" is {spec.dtype} {spec.shape}, expected {expected}')
    return spec


def labels_of(head: str, heads: Sequence[ModelHead], spec: TensorSpec, kind: str, more: int = 0) -> tuple[str, ...]:
    """The labels that the model's manifest gives to the channels of `spec` (axis 1), and `more` of them than channels.

    ModelError when it gives none, gives them to another kind of output, or not so many.
    """
    count = spec.shape[1] + more
    expected = f'[[heads]] with output = "{spec.name}", kind = "{kind}" and {count} labels'
    found = next((entry for entry in heads if entry.output == spec.name), None)
    if found is None:
        has = ", ".join(entry.output for entry in heads) or "none"
        raise ModelError(f"head {head}: expected {expected} in the model's manifest; it has {has}")
    if (found.kind, len(found.labels)) != (kind, count):
        raise ModelError(f"head {head}: the model's manifest says {found.kind}, {found.labels}; expected {expected}")
    return tuple(found.labels)


def softmax(logits: list[float]) -> list[float]:
    """Probabilities that add up to 1; none when a logit is not a number, or endless.

    Plain floats: for so few values one NumPy call costs more than all of this.
    """
    most = max(logits)
    powers = [math.exp(logit - most) for logit in logits] if all(map(math.isfinite, logits)) else []
    whole = sum(powers)
    return [power / whole for power in powers]


def most_probable(scores: Sequence[float], at_least: float) -> int | None:
    """The place of the highest score, the first of equals; None when there is none so high, or none at all."""
    score = max(scores, default=-1.0)
    return scores.index(score) if score >= at_least else None


def _open(place: str, table: Mapping[str, Any], outputs: tuple[TensorSpec, ...], heads: Sequence[ModelHead]) -> Head:
    kind = table.get("kind")
    if kind not in kinds():
        raise ConfigError(f"{place}.kind is {kind!r}; there are: {', '.join(kinds())}")
    module = importlib.import_module(f"{__name__}.{kind}")
    try:
        config = msgspec.convert({key: value for key, value in table.items() if key != "kind"}, module.Config)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{place}, a {kind} head: {exc}") from exc
    head: Head = module.open(config, outputs, heads)
    return head
