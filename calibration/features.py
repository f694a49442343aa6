"""What a frozen encoder says of a whole picture: the model's output `features`, and the one place that defines it.

Global means of every level tell what the picture is made of, coarse to fine; a 2x2 grid of the coarsest tells roughly
where. Means only: they stay on the same scale in every encoding, and cost next to nothing after the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

GRID = 2  # cells a side in which the coarsest level is averaged


def pooled(levels: Sequence[Tensor]) -> Tensor:
    """Encoder maps at strides 2, 4, 8, 16, 32, each (N, C, h, w) and square, to features (N, F).

    F is the sum of the channels at strides 4 to 32, and GRID x GRID times those at stride 32.
    """
    _, *coarse = levels
    cells = avg_pool2d(coarse[-1], coarse[-1].shape[-1] // GRID)
    return torch.cat([*(level.mean((2, 3)) for level in coarse), cells.flatten(1)], 1)
