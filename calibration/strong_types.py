"""A model in FP16 for a strongly typed TensorRT network, which computes in the types that the graph says.

What leads to the masks is cast to float16 and back. Inputs and outputs keep their types. What measures the picture,
and what pools features for the heads, stays float32: it sums thousands of values, more than FP16 can count, and costs
next to nothing. The S8 file is not cast: between an INT8 convolution and its Q nothing is ever written down as float.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from calibration.halves import whole
from calibration.quantize import Calibration, quantised
from calibration.units import units
from edge.errors import ModelError

MASKS = ("polyp",)  # outputs whose way is FP16
EXACT = ("thumbnail", "detail")  # outputs that share its beginning, and keep that float32
HALF = "/fp16"
ALWAYS_FLOAT32 = {"Resize": 2}  # operation -> its input that ONNX has no float16 for: the scales


def _ancestors(model: onnx.ModelProto, outputs: Iterable[str]) -> set[str]:
    """The tensors that these outputs are made of, themselves included."""
    wanted = set(outputs)
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
    return wanted


class _Typed:
    """One graph, written node by node: a tensor of `halved` that was float is float16, by its name with HALF."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        cast = {node.output[0] for node in model.graph.node if node.op_type == "Cast"}  # their type is their own
        self.halved = _ancestors(model, MASKS) - _ancestors(model, EXACT) - cast
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = [*inferred.value_info, *inferred.input, *inferred.output]
        types = {v.name: v.type.tensor_type.elem_type for v in values}
        types.update({i.name: i.data_type for i in inferred.initializer})
        self.floats = {name for name, kind in types.items() if kind == TensorProto.FLOAT}
        self.constants = {i.name: i for i in model.graph.initializer}
        self.made: dict[str, onnx.TensorProto] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.cast: set[str] = set()

    def half_constant(self, name: str) -> str:
        values = numpy_helper.to_array(self.constants[name])
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise ModelError(f"{name}: {np.abs(values).max():g} does not fit float16, so it cannot be typed FP16")
        self.made[name + HALF] = numpy_helper.from_array(half, name + HALF)
        return name + HALF

    def cast_once(self, source: str, result: str, kind: int) -> str:
        if result not in self.cast:
            self.cast.add(result)
            self.nodes.append(helper.make_node("Cast", [source], [result], f"{result}/Cast", to=kind))
        return result

    def half(self, name: str) -> str:
        """The float16 tensor that stands for `name`: a constant, a cast where float32 ends, or a node's output."""
        if name not in self.floats:
            return name
        if name in self.constants:
            return self.half_constant(name)
        return name + HALF if name in self.halved else self.cast_once(name, name + HALF, TensorProto.FLOAT16)

    def single(self, name: str) -> str:
        """The float32 tensor `name`, cast back where float16 ends."""
        is_half = name in self.halved and name in self.floats and name not in self.constants
        return self.cast_once(name + HALF, name, TensorProto.FLOAT) if is_half else name

    def node(self, node: onnx.NodeProto) -> None:
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        if self.halved.intersection(node.output):
            kept = ALWAYS_FLOAT32.get(node.op_type)
            copied.input[:] = [name if i == kept else self.half(name) for i, name in enumerate(node.input)]
            copied.output[:] = [name + HALF if name in self.floats else name for name in node.output]
        else:
            copied.input[:] = [self.single(name) for name in node.input]
        self.nodes.append(copied)

    def typed(self) -> onnx.ModelProto:
        for node in self.model.graph.node:
            self.node(node)
        for output in self.model.graph.output:
            self.single(output.name)
        return self._model()

    def _model(self) -> onnx.ModelProto:
        used = {name for node in self.nodes for name in node.input}
        constants = [c for name, c in {**self.constants, **self.made}.items() if name in used]
        graph = self.model.graph
        built = helper.make_graph(self.nodes, f"{graph.name}-fp16", graph.input, graph.output, constants)
        given = self.model
        opsets, ir_version = given.opset_import, given.ir_version
        model = helper.make_model(built, opset_imports=opsets, producer_name="endoedge", ir_version=ir_version)
        onnx.checker.check_model(model, full_check=True)
        return model


def in_halves(fp32: onnx.ModelProto) -> onnx.ModelProto:
    """An FP32 model as TensorRT is to run it where 8 bits are not faster, checked by onnx.

    Its front is that of the S8 file: TensorRT has no DQ of bytes whose zero point is 128. Raises ModelError for a
    constant beyond float16's reach.
    """
    nothing = Calibration({}, left=[unit.output for unit in units(whole(fp32))])
    return _Typed(quantised(fp32, nothing, "s8")).typed()
