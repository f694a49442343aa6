"""How far two files of one model agree on real frames, in steps of the output's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from calibration.ranges import Frame, observed


@dataclass(frozen=True)
class Agreement:
    """Of all cells of one output: how far apart the two files are, in steps, and the Dice of their two masks."""

    within_one_step: float
    mean_steps: float
    largest_steps: float
    dice: float


def output_step(model: onnx.ModelProto, output: str) -> float:
    """The step of the grid on which a quantised file's output lies, seen through operations that only move values."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    node = made_by[output]
    while node.op_type != "DequantizeLinear":
        node = made_by[node.input[0]]
    (scale,) = (numpy_helper.to_array(i) for i in model.graph.initializer if i.name == node.input[1])
    return float(scale)


def agreement(u8: onnx.ModelProto, other: onnx.ModelProto, frames: Sequence[Frame], output: str = "polyp") -> Agreement:
    """Both files on the same frames, in steps of the U8 file's output; a mask is where the output is above 0."""
    step = output_step(u8, output)
    sessions = [observed(model, [output]) for model in (u8, other)]
    first, second = (np.stack([s.run(None, {"image": frame})[0] for frame in frames]) for s in sessions)
    steps = np.abs(first - second) / step
    marked, also = first > 0, second > 0
    total = int(marked.sum()) + int(also.sum())
    dice = 2 * int((marked & also).sum()) / total if total else 1.0
    within = float((steps <= 1.0 + 1e-3).mean())
    return Agreement(within, float(steps.mean()), float(steps.max()), dice)
