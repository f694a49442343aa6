"""A net small enough to train in a test, and pictures that are easy to learn."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import torch

from calibration.encoders.mobilenetv2 import Block
from calibration.pictures import Sample
from calibration.student import Student

SIDE = 64


class TinyEncoder(torch.nn.Module):
    """MobileNetV2's blocks, a few channels wide: depthwise, ReLU6 and a residual sum are all in it."""

    channels = (4, 6, 6, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.ReLU6())
        sizes = zip((4, *self.channels), self.channels, (1, 2, 2, 2, 2), strict=False)
        blocks: list[torch.nn.Module] = [Block(i, o, 2, s) for i, o, s in sizes]
        blocks[-1] = torch.nn.Sequential(blocks[-1], Block(8, 8, 2, 1))
        self.stages = torch.nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return list(itertools.accumulate(self.stages, lambda y, stage: stage(y), initial=self.stem(x)))[1:]


def tiny() -> Student:
    torch.manual_seed(0)
    return Student(TinyEncoder(), widths=(8, 8, 8, 8))


def drawn(count: int, seed: int = 0, polyps: bool = True) -> list[Sample]:
    """Pale discs on a dark wall."""
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(count):
        picture = rng.integers(40, 90, (SIDE, SIDE, 3), np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        if polyps:
            centre = [int(v) for v in rng.integers(16, 48, 2)]
            cv2.circle(mask, centre, int(rng.integers(8, 16)), 255, -1)
            picture[mask > 0] = (230, 150, 140)
        samples.append(Sample(str(index), picture, mask))
    return samples
