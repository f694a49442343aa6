"""How well two regions agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.eval.runner import Runner
from calibration.pictures import Sample
from edge.types import Box


@dataclass(frozen=True)
class Overlap:
    """How well two regions agree, 0..1. Two empty regions agree fully."""

    dice: float
    iou: float


def overlap(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Overlap:
    """Dice and IoU of two masks of one shape."""
    both, total = int((found & truth).sum()), int(found.sum()) + int(truth.sum())
    if total == 0:
        return Overlap(1.0, 1.0)
    return Overlap(2 * both / total, both / (total - both))


def mean_overlap(runner: Runner, samples: Iterable[Sample]) -> Overlap:
    """Mean over pictures of each picture's Dice and IoU, at probability 0.5."""
    scores = [overlap(runner.logits(s.picture) > 0, s.mask > 0) for s in samples]
    return Overlap(float(np.mean([s.dice for s in scores])), float(np.mean([s.iou for s in scores])))


def box_iou(a: Box, b: Box) -> float:
    """IoU of two boxes xyxy; 0 where they do not meet."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
