"""FP32 ONNX to INT8 by explicit Q/DQ: one calibration, two encodings of the same grid.

| encoding | activations | for | form |
|---|---|---|---|
| u8 | uint8, zero point 128 | ONNX Runtime on CPUs | ReLU clips the *integers* after Q, or nothing would fuse |
| s8 | int8, zero point 0 | TensorRT | ReLU before Q; of a sum only the identity quantised; biases float |

Weights are int8 per output channel, biases whole steps of (input scale x weight scale). ReLU6 needs no clip at its top:
nothing above 6 was ever seen there, and the grid saturates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from calibration.export import INPUT, SCALE
from calibration.ranges import LEVELS, METHODS, Frame, channel_means, histograms

# Reach of what the picture-quality nodes measure: known, not found. Means of bytes stay on the frame's own grid; edges
# are on steps of half a level, and one of more than 63 levels is an edge all the same.
FIXED = {"cells": float(SCALE) * LEVELS, "edges": 0.5 * LEVELS}
RECTIFIERS = ("Relu", "Clip")


@dataclass(frozen=True)
class Encoding:
    """How activations are written: the integer type and its zero point, and what else its runtime fuses."""

    dtype: type[np.uint8] | type[np.int8]
    zero: int
    rectify_integers: bool
    both_addends: bool
    integer_bias: bool


ENCODINGS = {
    "u8": Encoding(np.uint8, 128, rectify_integers=True, both_addends=True, integer_bias=True),
    "s8": Encoding(np.int8, 0, rectify_integers=False, both_addends=False, integer_bias=False),
}


@dataclass(frozen=True)
class Calibration:
    """What real pictures showed: each tensor's reach, and each channel's mean where biases are to be corrected."""

    ranges: Mapping[str, float]
    means: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Unit:
    """A convolution or a sum with the rectifier after it: one fused operation, one quantised tensor."""

    node: onnx.NodeProto
    rectifier: onnx.NodeProto | None

    @property
    def output(self) -> str:
        return str((self.rectifier or self.node).output[0])


def _readers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def units(model: onnx.ModelProto) -> list[Unit]:
    """Every operation of the FP32 net whose output is put on a grid, in the graph's order."""
    readers, weights = _readers(model), {i.name for i in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type == "Conv" or (node.op_type == "Add" and not weights.intersection(node.input)):
            after = readers.get(node.output[0], [])
            rectified = len(after) == 1 and after[0].op_type in RECTIFIERS
            found.append(Unit(node, after[0] if rectified else None))
    return found


class _Writer:
    """One quantised graph, written node by node beside the FP32 one.

    `readable[name]` is the tensor that stands for FP32 tensor `name`; `scales[name]` is its step where it is on a grid.
    """

    def __init__(self, model: onnx.ModelProto, calibration: Calibration, encoding: Encoding) -> None:
        self.model, self.encoding, self.means = model, encoding, calibration.means
        self.readers = _readers(model)
        self.weights = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.scales = {name: np.float32(reach / LEVELS) for name, reach in calibration.ranges.items()}
        self.readable: dict[str, str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def emit(self, op: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], f"{output}/{op}", **attributes))
        return output

    def copy(self, node: onnx.NodeProto, inputs: Sequence[str]) -> str:
        """The same operation on other inputs."""
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.input[:] = inputs
        self.nodes.append(copied)
        return str(node.output[0])

    def grid(self, name: str) -> list[str]:
        """Scale and zero point of an activation."""
        zero = self.encoding.dtype(self.encoding.zero)
        return [self.constant(f"{name}/scale", self.scales[name]), self.constant("zero", zero)]

    def put_on_grid(self, name: str, value: str, rectified: bool = False) -> None:
        """Q (clip) DQ of float tensor `value`; from here on the result stands for FP32 tensor `name`."""
        grid = self.grid(name)
        integers = self.emit("QuantizeLinear", [value, *grid], f"{name}/q")
        if rectified:
            integers = self.emit("Clip", [integers, "zero"], f"{name}/relu")
        self.readable[name] = self.emit("DequantizeLinear", [integers, *grid], f"{name}/dq")

    def picture(self) -> None:
        """U8: the frame's bytes are the quantised tensor. S8: the same grid, reached through float."""
        self.scales["x"] = SCALE
        planes = self.emit("Transpose", [INPUT], "planes", perm=[0, 3, 1, 2])
        if self.encoding.dtype is np.uint8:
            self.readable["x"] = self.emit("DequantizeLinear", [planes, *self.grid("x")], "x")
            return
        values = self.emit("Cast", [planes], "bytes", to=TensorProto.FLOAT)
        centred = self.emit("Sub", [values, self.constant("x/middle", np.float32(128))], "centred")
        self.put_on_grid("x", self.emit("Mul", [centred, self.grid("x")[0]], "x"))

    def convolution(self, node: onnx.NodeProto) -> str:
        """int8 weights, the bias on its grid, and the convolution itself, whose output is float."""
        source, result, weight = node.input[0], node.output[0], self.weights[node.input[1]]
        channels, input_scale = len(weight), self.scales[source]
        bias = self.weights[node.input[2]] if len(node.input) > 2 else np.zeros(channels, np.float32)
        # A channel of (nearly) no weights keeps a step in which its bias still fits an int32.
        least = np.maximum(np.abs(bias) * LEVELS / (input_scale * 2**30), 1e-8)
        reach = np.maximum(np.abs(weight).reshape(channels, -1).max(1), least)
        scale = (reach / LEVELS).astype(np.float32)
        steps = np.round(weight / scale.reshape(-1, 1, 1, 1)).astype(np.int8)
        if source in self.means and result not in FIXED:
            bias = bias - mean_response(steps * scale.reshape(-1, 1, 1, 1) - weight, self.means[source])
        bias_scale = (scale * input_scale).astype(np.float32)
        bias_steps = np.round(bias / bias_scale).astype(np.int32)
        inputs = [self.readable[source], self.integers(f"{result}/weight", steps, scale)]
        if self.encoding.integer_bias:
            inputs.append(self.integers(f"{result}/bias", bias_steps, bias_scale))
        else:
            inputs.append(self.constant(f"{result}/bias", (bias_steps * bias_scale).astype(np.float32)))
        return self.copy(node, inputs)

    def integers(self, name: str, steps: NDArray[np.generic], scale: NDArray[np.float32]) -> str:
        """Constant integers of one scale a channel, as a float tensor."""
        arguments = [
            self.constant(f"{name}/int", steps),
            self.constant(f"{name}/scale", scale),
            self.constant(f"{name}/zero", np.zeros(len(scale), steps.dtype)),
        ]
        return self.emit("DequantizeLinear", arguments, name, axis=0)

    def _only_summed(self, name: str) -> bool:
        return [n.op_type for n in self.readers.get(name, [])] == ["Add"]

    def unit(self, unit: Unit) -> None:
        node = unit.node
        if node.op_type == "Conv":
            value = self.convolution(node)
            if unit.rectifier is None and self._only_summed(value) and not self.encoding.both_addends:
                self.readable[value] = value
                return
        else:
            value = self.copy(node, [self.readable[name] for name in node.input])
        if unit.rectifier is not None and not self.encoding.rectify_integers:
            value = self.emit("Relu", [value], f"{value}/relu")
        self.put_on_grid(unit.output, value, unit.rectifier is not None and self.encoding.rectify_integers)

    def upsampling(self, node: onnx.NodeProto) -> None:
        """Nearest neighbour moves values and makes none: its output keeps its input's grid."""
        source, result = node.input[0], node.output[0]
        self.scales[result] = self.scales[source]
        self.put_on_grid(result, self.copy(node, [self.readable[source], *node.input[1:]]))

    def written(self) -> onnx.ModelProto:
        self.picture()
        of_unit = {unit.node.output[0]: unit for unit in units(self.model)}
        rectifiers = {u.rectifier.output[0] for u in of_unit.values() if u.rectifier is not None}
        for node in self.model.graph.node:
            name = node.output[0]
            if name in of_unit:
                self.unit(of_unit[name])
            elif node.op_type == "Resize":
                self.upsampling(node)
            elif name not in ("planes", "x") and name not in rectifiers:
                self.copy(node, [self.readable.get(i, i) for i in node.input])
        return self._model()

    def _model(self) -> onnx.ModelProto:
        used = {name for node in self.nodes for name in node.input}
        kept = [i for i in self.model.graph.initializer if i.name in used]
        made = [numpy_helper.from_array(v, k) for k, v in self.constants.items() if k in used]
        graph = self.model.graph
        built = helper.make_graph(self.nodes, f"{graph.name}-int8", graph.input, graph.output, [*kept, *made])
        model = helper.make_model(built, opset_imports=self.model.opset_import, producer_name="endoedge")
        model.ir_version = self.model.ir_version
        onnx.checker.check_model(model, full_check=True)
        return model


def mean_response(weight: NDArray[np.floating], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean output (O,) of a convolution (O, I/groups, kh, kw) on inputs of these channel means (I,).

    Of the weights' rounding errors it is the shift that bias correction takes away (Nagel et al. 2019, section 4.2).
    """
    outputs, inputs = weight.shape[:2]
    groups = len(means) // inputs
    summed = weight.sum((2, 3), dtype=np.float64).reshape(groups, outputs // groups, inputs)
    return np.einsum("goi,gi->go", summed, means.reshape(groups, inputs)).reshape(outputs)


def quantised(model: onnx.ModelProto, calibration: Calibration, encoding: str) -> onnx.ModelProto:
    """The INT8 twin of an FP32 model, in the encoding's form, checked by onnx."""
    return _Writer(model, calibration, ENCODINGS[encoding]).written()


def calibrated(
    model: onnx.ModelProto, frames: Sequence[Frame], method: str, *, correct_bias: bool = True
) -> Calibration:
    """Ranges by one of METHODS and, for bias correction, the mean input of every convolution, on the same frames."""
    of_units = units(model)
    reaches = [unit.output for unit in of_units if unit.output not in FIXED]
    found = {name: METHODS[method](*seen) for name, seen in histograms(model, reaches, frames).items()}
    inputs = sorted({u.node.input[0] for u in of_units if u.node.op_type == "Conv" and u.output not in FIXED})
    means = channel_means(model, inputs, frames) if correct_bias else {}
    return Calibration({**found, **FIXED}, means)
