"""How far a backend's heads agree with the float reference, in words that a person can weigh. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.types import Backend, ModelHead

Array = NDArray[np.float32]


class Agreement(NamedTuple):
    head: str
    measure: str
    value: float


def _masks(found: Array, wanted: Array) -> float:
    """Mean Dice of the masks (logit > 0) over the pictures in which either has one; 1 where none has."""
    both = np.logical_and(found > 0, wanted > 0).sum(axis=(1, 2, 3))
    either = (found > 0).sum(axis=(1, 2, 3)) + (wanted > 0).sum(axis=(1, 2, 3))
    return float(np.mean(2 * both[either > 0] / either[either > 0])) if either.any() else 1.0


def _labels(found: Array, wanted: Array) -> float:
    """Share of the pictures with the same best label."""
    return float(np.mean(found.argmax(axis=1) == wanted.argmax(axis=1)))


def _grades(found: Array, wanted: Array) -> float:
    """Share of the pictures with the same grade: how many of the ordered questions are answered yes."""
    return float(np.mean((found > 0).sum(axis=1) == (wanted > 0).sum(axis=1)))


def _maps(found: Array, wanted: Array) -> float:
    """Mean absolute difference, in the map's unit."""
    return float(np.mean(np.abs(found - wanted)))


MEASURES: dict[str, tuple[str, Callable[[Array, Array], float]]] = {
    "segment": ("Dice of the masks", _masks),
    "classify": ("same label", _labels),
    "ordinal": ("same grade", _grades),
    "dense": ("mean difference", _maps),
}


def with_reference(
    heads: Sequence[ModelHead], frames: NDArray[np.uint8], backend: Backend, reference: Backend
) -> list[Agreement]:
    """Of every head, over all frames (N, H, W, 4)."""
    found, wanted = (_answers(each, frames) for each in (backend, reference))
    return [
        Agreement(head.name, MEASURES[head.kind][0], MEASURES[head.kind][1](found[head.output], wanted[head.output]))
        for head in heads
    ]


def _answers(backend: Backend, frames: NDArray[np.uint8]) -> dict[str, Any]:
    """Outputs of all frames by name, copied: the backend uses its memory again."""
    each = [{name: np.array(value, np.float32) for name, value in backend.infer(frame).items()} for frame in frames]
    return {name: np.concatenate([outputs[name] for outputs in each]) for name in each[0]}
