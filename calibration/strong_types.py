"""The S8 file for a strongly typed TensorRT network: what computes in float computes in FP16, and the graph says so.

Scales of Q and DQ become float16, which changes no grid (every scale is a float16 number already). Inputs and outputs
keep their types. What leads to `thumbnail` and `detail` stays float32: a byte has too many levels for FP16 sums.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.errors import ModelError

EXACT = ("thumbnail", "detail")  # outputs that stay in float32
OPSET, IR = 19, 9  # the first in which Q and DQ take float16
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
    """One graph, written node by node. `halves` are the float tensors that hold float16 now."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.exact = _ancestors(model, EXACT)
        self.outputs = [output.name for output in model.graph.output]
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = [*inferred.value_info, *inferred.input, *inferred.output]
        types = {v.name: v.type.tensor_type.elem_type for v in values}
        types.update({i.name: i.data_type for i in inferred.initializer})
        self.floats = {name for name, kind in types.items() if kind == TensorProto.FLOAT}
        self.constants = {i.name: i for i in model.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.made: dict[str, onnx.TensorProto] = {}
        self.cast: set[str] = set()

    def half_constant(self, name: str) -> str:
        values = numpy_helper.to_array(self.constants[name])
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise ModelError(f"{name}: {np.abs(values).max():g} does not fit float16, so it cannot be typed FP16")
        self.made[name + HALF] = numpy_helper.from_array(half, name + HALF)
        return name + HALF

    def half(self, name: str) -> str:
        """The float16 tensor that stands for `name`: a constant, a cast where float32 ends, or a node's output."""
        if name not in self.floats:
            return name
        if name in self.constants:
            return self.half_constant(name)
        if name in self.exact and name not in self.cast:
            self.cast.add(name)
            self.nodes.append(helper.make_node("Cast", [name], [name + HALF], name + HALF, to=TensorProto.FLOAT16))
        return name + HALF

    def typed(self) -> onnx.ModelProto:
        for node in self.model.graph.node:
            copied = onnx.NodeProto()
            copied.CopyFrom(node)
            if not self.exact.intersection(node.output):
                kept = ALWAYS_FLOAT32.get(node.op_type)
                copied.input[:] = [n if i == kept else self.half(n) for i, n in enumerate(node.input)]
                copied.output[:] = [name + HALF if name in self.floats else name for name in node.output]
                for attribute in copied.attribute:
                    if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                        attribute.i = TensorProto.FLOAT16
            self.nodes.append(copied)
        for name in self.outputs:
            if name in self.floats and name not in self.exact:
                self.nodes.append(helper.make_node("Cast", [name + HALF], [name], f"{name}/Cast", to=TensorProto.FLOAT))
        return self._model()

    def _model(self) -> onnx.ModelProto:
        used = {name for node in self.nodes for name in node.input}
        constants = [c for name, c in {**self.constants, **self.made}.items() if name in used]
        graph = self.model.graph
        built = helper.make_graph(self.nodes, f"{graph.name}-fp16", graph.input, graph.output, constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(built, opset_imports=opsets, producer_name="endoedge", ir_version=IR)
        onnx.checker.check_model(model, full_check=True)
        return model


def strongly_typed(s8: onnx.ModelProto) -> onnx.ModelProto:
    """The FP16 variant of an S8 file, checked by onnx. Raises ModelError for a constant beyond float16's reach."""
    return _Typed(s8).typed()
