"""The student net: an encoder's pyramid and a light top-down decoder of dense convolutions, polyp logits at stride 2.

Made for INT8: dense 3x3 convolutions with ReLU, additions instead of concatenations, nearest upsampling (exact on any
quantisation grid), and the last factor of two as a pixel shuffle of four logits, so that nothing wide runs at stride 2.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval

from calibration.encoders.mobilenetv2 import MobileNetV2

WIDTHS = (48, 64, 96, 128)  # decoder channels at strides 4, 8, 16, 32


class ConvUnit(nn.Module):
    """Convolution, batch norm (folded at export), ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.relu: nn.Module = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.norm(self.conv(x)))
        return y

    def fold(self) -> None:
        """Move the batch norm into the convolution's weights; the output stays the same in eval mode."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
            self.norm = nn.Identity()


class Context(nn.Module):
    """At stride 32, where it is nearly free: two 3x3 convolutions with a skip, so a cell sees most of the picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter = ConvUnit(inputs, outputs, 1)
        self.look = nn.Sequential(ConvUnit(outputs, outputs, 3), ConvUnit(outputs, outputs, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return cast(Tensor, x + self.look(x))


class Step(nn.Module):
    """One step down the pyramid: narrow, upsample, add the encoder's level, blend."""

    def __init__(self, above: int, lateral: int, outputs: int) -> None:
        super().__init__()
        self.narrow = ConvUnit(above, outputs, 1, relu=False)
        self.lateral = ConvUnit(lateral, outputs, 1, relu=False)
        self.blend = nn.Sequential(nn.ReLU(), ConvUnit(outputs, outputs, 3))

    def forward(self, above: Tensor, level: Tensor) -> Tensor:
        up = interpolate(self.narrow(above), scale_factor=2.0, mode="nearest")
        y: Tensor = self.blend(up + self.lateral(level))
        return y


class Student(nn.Module):
    """(N, 3, H, W) float in -1..1, sides multiples of 32, to polyp logits (N, 1, H/2, W/2)."""

    def __init__(self, encoder: nn.Module | None = None, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.encoder = encoder if encoder is not None else MobileNetV2()
        self.widths = tuple(widths)
        fine, *coarse, last = cast(Sequence[int], self.encoder.channels)
        self.context = Context(last, widths[-1])
        self.steps = nn.ModuleList(
            Step(above, level, width)
            for above, level, width in zip(widths[:0:-1], coarse[::-1], widths[-2::-1], strict=True)
        )
        self.fine = ConvUnit(fine, widths[0], 3, stride=2, relu=False)  # edges from stride 2, gathered at stride 4
        self.finish = nn.Sequential(nn.ReLU(), ConvUnit(widths[0], widths[0], 3))
        self.logits = nn.Conv2d(widths[0], 4, 1)
        nn.init.constant_(cast(Tensor, self.logits.bias), -2.0)  # most of a picture is not polyp

    def decoded(self, levels: Sequence[Tensor]) -> Tensor:
        """The encoder's levels, finest first, to the decoder's map (N, widths[0], H/4, W/4)."""
        fine, *coarse, last = levels
        y = self.context(last)
        for step, level in zip(self.steps, coarse[::-1], strict=True):
            y = step(y, level)
        return cast(Tensor, self.finish(y + self.fine(fine)))

    def polyp(self, decoder4: Tensor) -> Tensor:
        """The decoder's map to polyp logits."""
        return nn.functional.pixel_shuffle(self.logits(decoder4), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.polyp(self.decoded(self.encoder(x)))


def widths_of(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The decoder's widths, strides 4 to 32, from the tensors of a student's state dict."""
    steps = sorted(name for name in state if name.startswith("steps.") and name.endswith(".narrow.conv.weight"))
    narrowing = [len(state[name]) for name in steps]  # from stride 32 down
    return (*reversed(narrowing), len(state["context.enter.conv.weight"]))


def folded(student: Student) -> Student:
    """A copy in eval mode with every batch norm and side branch folded away: the net that is exported."""
    student = copy.deepcopy(student).eval()
    for module in list(student.modules()):
        if callable(fold := getattr(module, "fold", None)):  # a decoder's unit, or an encoder's own
            fold()
    return student


def normalised(pictures: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) to the net's input. 128 is zero, so an U8 frame *is* the quantised tensor (scale 1/127.5)."""
    return (pictures.to(torch.float32) - 128.0) / 127.5
