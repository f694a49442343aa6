"""The ensemble that a student was taught by, as a yardstick: the same pictures, the same Dice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from calibration.pictures import Picture, Sample
from calibration.teachers.ensemble import Ensemble
from calibration.train.job import trained


def opened(checkpoints: Sequence[Path], sides: Sequence[int]) -> Callable[[Sample], Picture]:
    """Soft masks, probability x 255, uint8 (H, W): the nets' mean over `sides` and all flips. Raises ModelError."""
    ensemble = Ensemble([trained(path) for path in checkpoints], sides)

    def soft(sample: Sample) -> Picture:
        return np.rint(ensemble.probability(sample.picture) * 255).astype(np.uint8)

    return soft
