"""Which convolutions of a Q/DQ file run in INT8, and where the file breaks the rules by which TensorRT fuses it.

The rules: symmetric int8, zero point 0; activations per tensor, weights per output channel; float biases; a rectifier
between operation and Q; of a sum with a convolution only the other addend quantised; no Q that no INT8 operation reads;
no INT8 convolution of fewer than 16 channels (TensorRT's developer guide, "Working with Quantized Types"). And bytes
go into a cast and into nothing else, not even a transpose (issue 3985 of TensorRT's repository).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from calibration.quantize import ENCODINGS
from calibration.units import fewest_channels, readers

LEAST_CHANNELS = ENCODINGS["s8"].least_channels
MAY_BE_QUANTISED = ("Conv", "Relu", "Add", "Resize")  # operations whose output may go straight into a Q
READ_IN_INT8 = ("Conv", "Add", "Resize")  # operations that take a DQ's output


@dataclass(frozen=True)
class Convolution:
    """One convolution of the file; `why` says why it computes in float, "" where it runs in INT8."""

    name: str
    why: str

    @property
    def int8(self) -> bool:
        return not self.why


@dataclass(frozen=True)
class Audit:
    """All convolutions in the graph's order, and what breaks a rule, one line each."""

    convolutions: tuple[Convolution, ...]
    violations: tuple[str, ...]


class _Auditor:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.inputs = list(model.graph.input)
        self.constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.made_by = {name: node for node in self.nodes for name in node.output}
        self.readers = readers(model)

    def maker(self, name: str) -> str:
        """The operation that makes a tensor; "" for constants and inputs."""
        return str(self.made_by[name].op_type) if name in self.made_by else ""

    def grid(self, node: onnx.NodeProto) -> Iterator[str]:
        """Q and DQ: symmetric int8, one step a tensor, or one a channel on axis 0 for constants."""
        scale, zero = (self.constants[name] for name in node.input[1:3])
        if zero.dtype != np.int8 or np.any(zero != 0):
            yield f"{node.output[0]}: zero point {zero.ravel()[0]} of {zero.dtype}, expected int8 0"
        if not np.all(scale > 0):
            yield f"{node.output[0]}: a scale that is not positive"
        constant = self.constants.get(node.input[0])
        wanted = () if constant is None else constant.shape[:1]
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if scale.shape != wanted or (wanted and axis != 0):
            yield f"{node.output[0]}: scale of shape {scale.shape} on axis {axis}, expected {wanted} on axis 0"

    def quantiser(self, node: onnx.NodeProto) -> Iterator[str]:
        yield from self.grid(node)
        maker = self.maker(node.input[0])
        if maker not in MAY_BE_QUANTISED:
            yield f"{node.input[0]}: the output of {maker or 'no operation'} is quantised"

    def dequantiser(self, node: onnx.NodeProto) -> Iterator[str]:
        yield from self.grid(node)
        reading = {reader.op_type for reader in self.readers.get(node.output[0], [])}
        if not reading.intersection(READ_IN_INT8):
            yield f"{node.output[0]}: quantised, and no INT8 operation reads it"
        if reading.intersection(("Relu", "Clip")):
            yield f"{node.output[0]}: quantised before its rectifier"

    def sum(self, node: onnx.NodeProto) -> Iterator[str]:
        """A convolution that only this sum reads must reach it in float."""
        if any(self.maker(name) != "DequantizeLinear" for name in node.input):
            return
        for name in node.input:
            quantiser = self.made_by[self.made_by[name].input[0]]
            if len(self.readers[name]) == 1 and self.maker(quantiser.input[0]) == "Conv":
                yield f"{node.output[0]}: both addends quantised, so convolution and sum do not fuse"

    def convolution(self, node: onnx.NodeProto) -> Iterator[str]:
        if len(node.input) > 2 and self.maker(node.input[2]) == "DequantizeLinear":
            yield f"{node.output[0]}: quantised bias"
        if self.runs_in_int8(node) and self.channels(node) < LEAST_CHANNELS:
            yield f"{node.output[0]}: INT8 with {self.channels(node)} channels, expected {LEAST_CHANNELS} or more"

    def channels(self, node: onnx.NodeProto) -> int:
        weight = node.input[1]
        if self.maker(weight) == "DequantizeLinear":
            return fewest_channels(node, {weight: self.constants[self.made_by[weight].input[0]]})
        return fewest_channels(node, self.constants)

    def runs_in_int8(self, node: onnx.NodeProto) -> bool:
        return all(self.maker(name) == "DequantizeLinear" for name in node.input[:2])

    def why_float(self, node: onnx.NodeProto) -> str:
        if self.runs_in_int8(node):
            return ""
        if self.channels(node) < LEAST_CHANNELS:
            return f"fewer than {LEAST_CHANNELS} channels"
        return "input in float" if self.maker(node.input[0]) != "DequantizeLinear" else "left in float"

    def bytes_read(self) -> Iterator[str]:
        for value in self.inputs:
            for reader in self.readers.get(value.name, []):
                if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8 and reader.op_type != "Cast":
                    yield f"{value.name}: its bytes are read by {reader.op_type}, expected Cast"

    def audit(self) -> Audit:
        rules = {
            "QuantizeLinear": self.quantiser,
            "DequantizeLinear": self.dequantiser,
            "Add": self.sum,
            "Conv": self.convolution,
        }
        violations = [*self.bytes_read()]
        violations += [line for node in self.nodes if node.op_type in rules for line in rules[node.op_type](node)]
        convolutions = [Convolution(n.output[0], self.why_float(n)) for n in self.nodes if n.op_type == "Conv"]
        return Audit(tuple(convolutions), tuple(violations))


def audited(model: onnx.ModelProto) -> Audit:
    """The audit of an S8 file (or its FP16 variant)."""
    return _Auditor(model).audit()
