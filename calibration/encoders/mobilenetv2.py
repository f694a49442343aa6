"""MobileNetV2 1.0 (Sandler et al. 2018) as a feature pyramid, without batch norm.

The weights come with batch norm already folded, so there is none here: what trains is what is exported. Padding is
symmetric, where TensorFlow (the weights' home) pads the right and bottom edges; that moves the sampling grid by one
pixel a level, i.e. it is the same net on a shifted picture, and saves a Pad node before every strided convolution.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from edge.errors import ModelError

# expansion, output channels, blocks, stride of the first block
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# Stages whose output is a level of the pyramid (strides 2, 4, 8, 16, 32) and its channels.
LEVELS = {0: 16, 1: 24, 2: 32, 4: 96, 6: 320}


class StridedDepthwise(nn.Conv2d):
    """Stays in float32 under autocast: on CPUs its bfloat16 gradient takes four times as long."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    kind = StridedDepthwise if groups > 1 and stride > 1 else nn.Conv2d
    return kind(inputs, outputs, kernel, stride, kernel // 2, groups=groups)


class Block(nn.Module):
    """Inverted residual: widen 1x1, depthwise 3x3, project 1x1 (linear), and add the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        widen = [_conv(inputs, hidden, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = [_conv(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6()]
        self.body = nn.Sequential(*widen, *depthwise, _conv(hidden, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """(N, 3, H, W) float in -1..1 to five maps at strides 2..32 with `channels`."""

    channels = tuple(LEVELS.values())

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 32, 3, 2), nn.ReLU6())
        self.stages = nn.ModuleList()
        inputs = 32
        for expansion, outputs, blocks, stride in STAGES:
            sizes = [(inputs, stride), *[(outputs, 1)] * (blocks - 1)]
            self.stages.append(nn.Sequential(*[Block(i, outputs, expansion, s) for i, s in sizes]))
            inputs = outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        levels = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in LEVELS:
                levels.append(x)
        return levels


def open() -> MobileNetV2:
    """A fresh net."""
    return MobileNetV2()


def load(path: Path) -> MobileNetV2:
    """The encoder with ImageNet weights: a state dict `convs.N.{weight,bias}` in the net's own order.

    Raises ModelError when the file is missing, is no state dict, or has other tensors.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file (expected MobileNetV2 weights, a PyTorch state dict)")
    try:
        state = torch.load(path, weights_only=True)
    except Exception as exc:  # torch.load raises half a dozen kinds, without a common parent
        raise ModelError(f"{path}: not a file of MobileNetV2 weights (expected a PyTorch state dict)") from exc
    encoder = MobileNetV2()
    convs = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for index, conv in enumerate(convs):
            for name, parameter in conv.named_parameters():
                parameter.copy_(_tensor(state, f"convs.{index}.{name}", parameter.shape, path))
    return encoder


def _tensor(state: object, name: str, shape: torch.Size, path: Path) -> Tensor:
    value = state.get(name) if isinstance(state, dict) else None
    if not isinstance(value, Tensor):
        raise ModelError(f"{path}: no tensor {name}, so these are not MobileNetV2 1.0 weights")
    if value.shape != shape:
        raise ModelError(f"{path}: {name} is {tuple(value.shape)}, expected {tuple(shape)}")
    return value
