"""What of a net is quantised: a convolution or a sum with the rectifier after it, one fused operation of one output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


@dataclass(frozen=True)
class Unit:
    """One fused operation. Its `output`, after the rectifier, is the tensor put on a grid, and names the unit.

    The rectifier's `ceiling` (6 of ReLU6, else infinite) bounds the tensor's reach: INT8 clips there by saturating.
    """

    node: onnx.NodeProto
    rectifier: onnx.NodeProto | None
    ceiling: float = math.inf

    @property
    def output(self) -> str:
        return str((self.rectifier or self.node).output[0])

    @property
    def is_convolution(self) -> bool:
        return bool(self.node.op_type == "Conv")


def readers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def units(model: onnx.ModelProto) -> list[Unit]:
    """Every operation of an FP32 net whose output is put on a grid, in the graph's order. No addend is constant."""
    read_by = readers(model)
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    outputs = {output.name for output in model.graph.output}
    found = []
    for node in model.graph.node:
        if node.op_type == "Conv" or (node.op_type == "Add" and not constants.keys() & set(node.input)):
            after = read_by.get(node.output[0], [])
            ceiling = _ceiling(after[0], constants) if len(after) == 1 and node.output[0] not in outputs else None
            found.append(Unit(node, None) if ceiling is None else Unit(node, after[0], ceiling))
    return found


def _ceiling(node: onnx.NodeProto, constants: Mapping[str, NDArray[np.generic]]) -> float | None:
    """Where a rectifier ends; None for what is no rectifier, such as a Clip that does not begin at 0."""
    if node.op_type == "Relu":
        return math.inf
    bounds = [constants.get(name) for name in node.input[1:]] if node.op_type == "Clip" else []
    if len(bounds) != 2 or bounds[0] is None or bounds[1] is None or float(bounds[0].item()) != 0:
        return None
    return float(bounds[1].item())


def fewest_channels(conv: onnx.NodeProto, weights: Mapping[str, NDArray[np.generic]]) -> int:
    """Channels in or out of a convolution, whichever are fewer."""
    outputs, per_group = weights[conv.input[1]].shape[:2]
    groups = next((int(a.i) for a in conv.attribute if a.name == "group"), 1)
    return int(min(outputs, per_group * groups))
