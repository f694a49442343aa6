"""What a frozen encoder says of a whole picture: the model's output `features`, and the one place that defines it.

Of every level, coarse to fine, the means over a 2x2 grid tell what the picture is made of and roughly where, and the
standard deviations tell how it varies: texture, blur, light. In a one-off probe on upper-GI sites a
linear head gained from the deviations and again from the grid; `add-head --head site` is the measurement.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

GRID = 2  # cells a side in which a level is averaged


def pooled(levels: Sequence[Tensor], floor: float = 0.0) -> Tensor:
    """Encoder maps at strides 2, 4, 8, 16, 32, each (N, C, h, w), square and at least GRID wide, to (N, F).

    The finest has nothing to say that costs less than the rest of the net; F is 5 times the others' channels.
    In training a `floor` below the variances keeps the gradient finite where a channel is the same everywhere.
    """
    return torch.cat([part for level in levels[1:] for part in (_means(level), _deviations(level, floor))], 1)


def _means(level: Tensor) -> Tensor:
    """(N, GRID * GRID * C): cells overlap where the side is odd."""
    step = level.shape[-1] // GRID
    return avg_pool2d(level, level.shape[-1] - step * (GRID - 1), step).flatten(1)


def _deviations(level: Tensor, floor: float) -> Tensor:
    """(N, C), over all pixels."""
    apart = level - level.mean((2, 3), keepdim=True)
    variance = (apart * apart).mean((2, 3))
    return (variance + floor if floor else variance).sqrt()
