"""What of a net is quantised: a convolution or a sum with the rectifier after it, one fused operation of one output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

RECTIFIERS = ("Relu", "Clip")


@dataclass(frozen=True)
class Unit:
    """One fused operation. Its `output`, after the rectifier, is the tensor put on a grid, and names the unit."""

    node: onnx.NodeProto
    rectifier: onnx.NodeProto | None

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
    read_by, weights = readers(model), {i.name for i in model.graph.initializer}
    outputs = {output.name for output in model.graph.output}
    found = []
    for node in model.graph.node:
        if node.op_type == "Conv" or (node.op_type == "Add" and not weights.intersection(node.input)):
            after = read_by.get(node.output[0], [])
            rectified = len(after) == 1 and after[0].op_type in RECTIFIERS and node.output[0] not in outputs
            found.append(Unit(node, after[0] if rectified else None))
    return found


def fewest_channels(conv: onnx.NodeProto, weights: Mapping[str, NDArray[np.generic]]) -> int:
    """Channels in or out of a convolution, whichever are fewer."""
    outputs, per_group = weights[conv.input[1]].shape[:2]
    groups = next((int(a.i) for a in conv.attribute if a.name == "group"), 1)
    return int(min(outputs, per_group * groups))
