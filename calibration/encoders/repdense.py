"""A plain encoder of dense 3x3 convolutions and ReLU, trained with more branches than it is run with.

While it trains, a unit is a 3x3 and a 1x1 convolution and, where shapes allow, the input itself, added up (RepVGG, Ding
et al. 2021). Being linear, the sum folds into one 3x3 convolution, exactly. Batch norm stands where Chu et al. 2023
("Make RepVGG greater again: a quantization-aware approach", QARepVGG) put it: after the 3x3 and after the sum, never in
the other branches, whose variances would blow the folded weights' range up and with it the 8-bit step.

There are no weights to load: a distillation stage gives it MobileNetV2's features.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Channels and units of the levels at strides 2, 4, 8, 16, 32. A level's first unit halves; the stem does for stride 2.
LEVELS = ((24, 1), (48, 3), (96, 4), (160, 6), (256, 2))


class Stem(nn.Sequential):
    """Convolution, batch norm, ReLU; the first module stays a convolution when folded, as the export wants it."""

    def __init__(self, outputs: int) -> None:
        super().__init__(nn.Conv2d(3, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())

    def fold(self) -> None:
        """Move the batch norm into the convolution; the output stays the same in eval mode."""
        conv, norm = self[0], self[1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            self[0], self[1] = fuse_conv_bn_eval(conv.eval(), norm.eval()), nn.Identity()


class Unit(nn.Module):
    """ReLU of norm(norm(3x3) + 1x1 + input) while training, of one 3x3 convolution once folded."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.dense = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.dense_norm: nn.Module = nn.BatchNorm2d(outputs)
        self.point: nn.Conv2d | None = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.identity = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense_norm(self.dense(x))
        if self.point is not None:
            y = y + self.point(x)
            y = y + x if self.identity else y
        return cast(Tensor, self.relu(self.norm(y)))

    @torch.no_grad()
    def fold(self) -> None:
        """One 3x3 convolution instead of the branches; the output stays the same in eval mode."""
        inner, outer = self.dense_norm, self.norm
        if self.point is None or not (isinstance(inner, nn.BatchNorm2d) and isinstance(outer, nn.BatchNorm2d)):
            return
        conv = fuse_conv_bn_eval(self.dense.eval(), inner.eval())
        conv.weight += pad(self.point.weight, (1, 1, 1, 1))  # a 1x1 kernel is the middle of a 3x3 one
        if self.identity:
            conv.weight[:, :, 1, 1] += torch.eye(len(conv.weight)).to(conv.weight)
        self.dense = fuse_conv_bn_eval(conv.eval(), outer.eval())
        self.point, self.dense_norm, self.norm = None, nn.Identity(), nn.Identity()


class RepDense(nn.Module):
    """(N, 3, H, W) float in -1..1 to five maps at strides 2..32 with `channels`."""

    channels = tuple(width for width, _ in LEVELS)

    def __init__(self) -> None:
        super().__init__()
        inputs = LEVELS[0][0]
        self.stem = Stem(inputs)
        self.stages = nn.ModuleList()
        for level, (width, count) in enumerate(LEVELS):
            first = Unit(inputs, width, stride=2 if level else 1)
            self.stages.append(nn.Sequential(first, *(Unit(width, width) for _ in range(count - 1))))
            inputs = width

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


def open() -> RepDense:
    """A fresh net."""
    return RepDense()
