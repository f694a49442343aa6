"""FP32 ONNX to INT8 by explicit Q/DQ: one calibration, two encodings of the same grid.

| encoding | activations | for | form |
|---|---|---|---|
| u8 | uint8, zero point 128 | ONNX Runtime on CPUs | ReLU clips the *integers* after Q, or nothing would fuse |
| s8 | int8, zero point 0 | TensorRT | ReLU before Q; of a sum only the identity quantised; biases float |

Weights are int8 per output channel, biases whole steps of (input scale x weight scale). Every scale but FIXED's is a
float16 number, which costs nothing and leaves every type open. ReLU6 needs no clip at its top: its grid
ends at 6 at the latest, and saturates. What is no convolution or sum (`features`, heads) stays float behind a
DequantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from calibration.export import INPUT, SCALE
from calibration.halves import whole
from calibration.ranges import LEVELS, METHODS, Frame, Histogram, channel_means, histograms, step, steps_of
from calibration.units import Unit, fewest_channels, readers, units

# Reach of what the picture-quality nodes measure: known, not found. Means of bytes stay on the frame's own grid; edges
# are on steps of half a level, and one of more than 63 levels is an edge all the same.
FIXED = {"cells": float(SCALE) * LEVELS, "edges": 0.5 * LEVELS}


@dataclass(frozen=True)
class Encoding:
    """How activations are written: the integer type and its zero point, and what else its runtime fuses."""

    dtype: type[np.uint8] | type[np.int8]
    zero: int
    rectify_integers: bool
    both_addends: bool
    integer_bias: bool
    only_where_read: bool  # a tensor is on a grid only where an INT8 operation reads it
    least_channels: int  # a convolution of fewer computes in float, with weights that lie on the grid all the same


ENCODINGS = {
    "u8": Encoding(np.uint8, 128, True, True, True, only_where_read=False, least_channels=0),
    "s8": Encoding(np.int8, 0, False, False, False, only_where_read=True, least_channels=16),
}


@dataclass(frozen=True)
class Calibration:
    """What real pictures showed: each tensor's reach, and each channel's mean where biases are to be corrected.

    `left` names the units (by output) that were measured to be too sensitive: they stay in float, weights and output.
    """

    ranges: Mapping[str, float]
    means: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    left: Collection[str] = ()


@dataclass(frozen=True)
class Rounded:
    """A convolution's constants on their grid: int8 weights (O, I, kh, kw), int32 biases (O,), and the scales (O,)."""

    weight: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.int32]
    bias_scale: NDArray[np.float32]

    def floats(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight and bias as the real numbers that the integers stand for."""
        return self.weight * self.scale.reshape(-1, 1, 1, 1), (self.bias * self.bias_scale).astype(np.float32)


def rounded(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    input_scale: np.float32,
    means: NDArray[np.float64] | None = None,
    scales: Callable[[NDArray[np.floating]], NDArray[np.float32]] = steps_of,
) -> Rounded:
    """A convolution's constants on the grid. With its input's channel means, the bias takes the mean error away."""
    channels = len(weight)
    # A channel of (nearly) no weights keeps a step in which its bias still fits an int32.
    least = np.maximum(np.abs(bias) * LEVELS / (input_scale * 2**30), 1e-8)
    scale = scales(np.maximum(np.abs(weight).reshape(channels, -1).max(1), least))
    steps = np.round(weight / scale.reshape(-1, 1, 1, 1)).astype(np.int8)
    error = 0.0 if means is None else mean_response(steps * scale.reshape(-1, 1, 1, 1) - weight, means)
    bias_scale = (scale * input_scale).astype(np.float32)
    return Rounded(steps, scale, np.round((bias - error) / bias_scale).astype(np.int32), bias_scale)


def _exact_steps(reaches: NDArray[np.floating]) -> NDArray[np.float32]:
    """As `steps_of`, but not rounded to float16: what only U8 puts on a grid, and means are to stay means."""
    return (reaches / LEVELS).astype(np.float32)


def mean_response(weight: NDArray[np.floating], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean output (O,) of a convolution (O, I/groups, kh, kw) on inputs of these channel means (I,).

    Of the weights' rounding errors it is the shift that bias correction takes away (Nagel et al. 2019, section 4.2).
    """
    outputs, inputs = weight.shape[:2]
    groups = len(means) // inputs
    summed = weight.sum((2, 3), dtype=np.float64).reshape(groups, outputs // groups, inputs)
    return np.asarray(np.einsum("goi,gi->go", summed, means.reshape(groups, inputs)).reshape(outputs))


class _Writer:
    """One quantised graph, written node by node beside the FP32 one.

    `readable[name]` is the tensor that stands for FP32 tensor `name`; `scales[name]` is its step where it is on a grid.
    """

    def __init__(self, model: onnx.ModelProto, calibration: Calibration, encoding: Encoding) -> None:
        self.model, self.encoding, self.calibration = model, encoding, calibration
        self.readers = readers(model)
        self.weights = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.units = {unit.node.output[0]: unit for unit in units(model)}
        self.free = set() if encoding.both_addends else self._free_addends()
        self.scales: dict[str, np.float32] = {}
        self.readable: dict[str, str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}

    # ---- what goes where

    def _free_addends(self) -> set[str]:
        """Of every sum the convolution that it is fused with: last, without rectifier, and read by nothing else."""
        free = set()
        for unit in self.units.values():
            if not unit.is_convolution:
                made = [self.units[name] for name in unit.node.input if name in self.units]
                alone = [u for u in made if u.is_convolution and not u.rectifier and len(self.readers[u.output]) == 1]
                free |= {u.output for u in alone[-1:]}
        return free

    def _is_read_in_int8(self, name: str) -> bool:
        return any(
            self._is_read_in_int8(node.output[0]) if node.op_type == "Resize" else node.output[0] in self.units
            for node in self.readers.get(name, [])
        )

    def on_grid(self, unit: Unit) -> bool:
        """Is the unit's output to be quantised?"""
        if unit.output in self.calibration.left or unit.output in self.free:
            return False
        return not self.encoding.only_where_read or self._is_read_in_int8(unit.output)

    # ---- writing

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def emit(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], f"{output}/{op}", **attributes))
        return output

    def copy(self, node: onnx.NodeProto, inputs: Sequence[str]) -> str:
        """The same operation on other inputs, without the exporter's remarks."""
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.input[:] = inputs
        del copied.metadata_props[:]
        self.nodes.append(copied)
        return str(node.output[0])

    def read(self, names: Sequence[str]) -> list[str]:
        return [self.readable.get(name, name) for name in names]

    def grid(self, name: str) -> list[str]:
        """Scale and zero point of an activation."""
        zero = self.encoding.dtype(self.encoding.zero)
        return [self.constant(f"{name}/scale", self.scales[name]), self.constant("zero", zero)]

    def put_on_grid(self, name: str, value: str, scale: np.float32, rectified: bool = False) -> None:
        """Q (clip) DQ of float tensor `value`; from here on the result stands for FP32 tensor `name`."""
        self.scales[name] = scale
        grid = self.grid(name)
        integers = self.emit("QuantizeLinear", [value, *grid], f"{name}/q")
        if rectified:
            integers = self.emit("Clip", [integers, "zero"], f"{name}/relu")
        self.readable[name] = self.emit("DequantizeLinear", [integers, *grid], f"{name}/dq")

    def picture(self) -> None:
        """U8: the frame's bytes are the quantised tensor. S8: float numbers that lie on the same grid, cast at once:
        TensorRT takes bytes into a cast and into nothing else."""
        self.scales["x"] = SCALE
        if self.encoding.dtype is np.uint8:
            planes = self.emit("Transpose", [INPUT], "planes", perm=[0, 3, 1, 2])
            self.emit("DequantizeLinear", [planes, *self.grid("x")], "x")
            return
        values = self.emit("Cast", [INPUT], "bytes", to=TensorProto.FLOAT)
        planes = self.emit("Transpose", [values], "planes", perm=[0, 3, 1, 2])
        centred = self.emit("Sub", [planes, self.constant("x/middle", np.float32(128))], "centred")
        self.emit("Mul", [centred, self.constant("x/scale", SCALE)], "x")

    def convolution(self, unit: Unit) -> str:
        """The convolution, whose output is float: on integers, or on float weights where it does not run in INT8."""
        node = unit.node
        source, result = node.input[0], node.output[0]
        thin = fewest_channels(node, self.weights) < self.encoding.least_channels
        if source not in self.scales or unit.output in self.calibration.left or (thin and result in FIXED):
            return self.copy(node, self.read(node.input))
        weight = self.weights[node.input[1]]
        bias = self.weights[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight), np.float32)
        if result in FIXED:
            on_grid = rounded(weight, bias, self.scales[source], scales=_exact_steps)
        else:
            on_grid = rounded(weight, bias, self.scales[source], self.calibration.means.get(source))
        inputs = self.read([source])
        if thin:
            inputs += [self.constant(f"{result}/{k}", v) for k, v in zip("wb", on_grid.floats(), strict=True)]
            return self.copy(node, inputs)
        inputs.append(self.integers(f"{result}/weight", on_grid.weight, on_grid.scale))
        if self.encoding.integer_bias:
            inputs.append(self.integers(f"{result}/bias", on_grid.bias, on_grid.bias_scale))
        else:
            inputs.append(self.constant(f"{result}/bias", on_grid.floats()[1]))
        return self.copy(node, inputs)

    def integers(self, name: str, steps: NDArray[np.generic], scale: NDArray[np.float32]) -> str:
        """Constant integers of one scale a channel, as a float tensor."""
        arguments = [
            self.constant(f"{name}/int", steps),
            self.constant(f"{name}/scale", scale),
            self.constant(f"{name}/zero", np.zeros(len(scale), steps.dtype)),
        ]
        return self.emit("DequantizeLinear", arguments, name, axis=0)

    def unit(self, unit: Unit) -> None:
        value = self.convolution(unit) if unit.is_convolution else self.copy(unit.node, self.read(unit.node.input))
        if not self.on_grid(unit):
            if unit.rectifier is not None:
                self.copy(unit.rectifier, [value, *unit.rectifier.input[1:]])
            return
        reach, rectified = min(self.calibration.ranges[unit.output], unit.ceiling), unit.rectifier is not None
        scale = np.float32(reach / LEVELS) if unit.output in FIXED else step(reach)
        if rectified and not self.encoding.rectify_integers:
            value = self.emit("Relu", [value], f"{value}/relu")
        self.put_on_grid(unit.output, value, scale, rectified and self.encoding.rectify_integers)

    def upsampling(self, node: onnx.NodeProto) -> None:
        """Nearest neighbour moves values and makes none: its output keeps its input's grid."""
        source, result = node.input[0], node.output[0]
        value = self.copy(node, [*self.read([source]), *node.input[1:]])
        if source in self.scales:
            self.put_on_grid(result, value, self.scales[source])

    def written(self) -> onnx.ModelProto:
        self.picture()
        rectifiers = {u.rectifier.output[0] for u in self.units.values() if u.rectifier is not None}
        for node in self.model.graph.node:
            name = node.output[0]
            if name in self.units:
                self.unit(self.units[name])
            elif node.op_type == "Resize":
                self.upsampling(node)
            elif name not in ("planes", "x") and name not in rectifiers:
                self.copy(node, self.read(node.input))
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


def quantised(model: onnx.ModelProto, calibration: Calibration, encoding: str) -> onnx.ModelProto:
    """The INT8 twin of an FP32 model, in the encoding's form, checked by onnx."""
    return _Writer(whole(model), calibration, ENCODINGS[encoding]).written()


def seen(model: onnx.ModelProto, frames: Sequence[Frame]) -> dict[str, tuple[Histogram, float]]:
    """What calibration pictures show of every tensor whose reach is to be found."""
    return histograms(model, [unit.output for unit in units(model) if unit.output not in FIXED], frames)


def input_means(model: onnx.ModelProto, frames: Sequence[Frame]) -> dict[str, NDArray[np.float64]]:
    """Mean of each channel of every convolution's input: what bias correction needs."""
    of_units = [u for u in units(model) if u.is_convolution and u.output not in FIXED]
    return channel_means(model, sorted({u.node.input[0] for u in of_units}), frames)


def calibrated(
    model: onnx.ModelProto, frames: Sequence[Frame], method: str, *, correct_bias: bool = True
) -> Calibration:
    """Ranges by one of METHODS and, for bias correction, the mean input of every convolution, on the same frames."""
    model = whole(model)
    found = {name: METHODS[method](*counted) for name, counted in seen(model, frames).items()}
    return Calibration({**found, **FIXED}, input_means(model, frames) if correct_bias else {})
