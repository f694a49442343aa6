"""A student a few channels wide with everything a real one has: depthwise, ReLU6, residual sums, upsampling."""

from __future__ import annotations

import functools
import itertools

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from calibration.encoders.mobilenetv2 import Block
from calibration.export import exported
from calibration.ranges import Frame
from calibration.student import Student

SIDE = 64


class TinyEncoder(torch.nn.Module):
    """Five blocks, strides 2 to 32, each level 16 channels or more, so that TensorRT's rules apply."""

    channels = (16, 16, 16, 24, 24)

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, 2, 1), torch.nn.ReLU6())
        sizes = zip((16, *self.channels), self.channels, (1, 2, 2, 2, 2), strict=False)
        blocks: list[torch.nn.Module] = [Block(i, o, 2, s) for i, o, s in sizes]
        blocks[-1] = torch.nn.Sequential(blocks[-1], Block(24, 24, 2, 1))
        self.stages = torch.nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return list(itertools.accumulate(self.stages, lambda y, stage: stage(y), initial=self.stem(x)))[1:]


def tiny_student() -> Student:
    """With biases and batch statistics that are not a fresh net's zeros and ones."""
    torch.manual_seed(0)
    student = Student(TinyEncoder(), widths=(16, 16, 16, 16))
    with torch.no_grad():
        for name, value in [*student.named_parameters(), *student.named_buffers()]:
            if "bias" in name or ("norm" in name and value.is_floating_point()):
                value.add_(torch.rand(value.shape) * 0.3)
    return student


@functools.cache
def tiny_fp32() -> onnx.ModelProto:
    """The tiny student as `export` writes it, made once a process: copy it before changing it."""
    return exported(tiny_student(), SIDE)


def disc_frames(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Pale discs on a dark wall, as the model's input."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        picture = rng.integers(40, 90, (SIDE, SIDE, 4), np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        centre = tuple(int(v) for v in rng.integers(16, 48, 2))
        cv2.circle(mask, centre, int(rng.integers(8, 16)), 255, -1)
        picture[mask > 0, :3] = (230, 150, 140)
        frames.append(picture[None])
    return frames


def run(model: onnx.ModelProto, frame: Frame, **settings: object) -> dict[str, np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    for name, value in settings.items():
        setattr(options, name, value)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {o.name: v for o, v in zip(session.get_outputs(), session.run(None, {"image": frame}), strict=True)}


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
