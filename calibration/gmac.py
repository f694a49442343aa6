"""How much an ONNX file computes: multiply-accumulates of its convolutions and matrix products. The rest is small."""

from __future__ import annotations

import math
from typing import NamedTuple

import onnx

from edge.errors import ModelError


def gmac(model: onnx.ModelProto) -> float:
    """Billions of multiply-accumulates of one run, of an FP32 file or of its Q/DQ twin alike.

    Raises ModelError where a tensor's shape is not known before the run.
    """
    shapes = _shapes(model)

    def shape(name: str) -> tuple[int, ...]:
        if name not in shapes:
            raise ModelError(f"multiply-accumulates: tensor {name} has no fixed shape")
        return shapes[name]

    total = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            total += math.prod(shape(node.output[0])) * _summed(node, shape(node.input[0]), shape(node.input[1]))
    return total / 1e9


def _summed(node: onnx.NodeProto, left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Products that make one value of the node's output."""
    if node.op_type == "Conv":  # (O, I / groups, kh, kw)
        return math.prod(right[1:])
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    return left[0] if turned else left[-1]


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The tensors whose every side is known."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        sides = value.type.tensor_type.shape.dim
        if all(side.HasField("dim_value") for side in sides):
            shapes[value.name] = tuple(int(side.dim_value) for side in sides)
    return shapes


class Traffic(NamedTuple):
    """Bytes of memory that one run moves. `least`: weights, inputs and outputs once each, as if all between stayed on
    the chip. `unfused`: every node reads its inputs from memory and writes its outputs there."""

    least: int
    unfused: int


def traffic(model: onnx.ModelProto) -> Traffic:
    """Of an FP32 file. Tensors whose shape is not known before the run (they are few and small) are not counted."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    kinds = {i.name: i.data_type for i in graph.initializer}
    kinds |= {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    sizes = {
        name: math.prod(shape) * onnx.helper.tensor_dtype_to_np_dtype(kinds[name]).itemsize
        for name, shape in _shapes(model).items()
    }
    ends = {value.name for value in (*graph.initializer, *graph.input, *graph.output)}
    moved = (name for node in graph.node for name in (*node.input, *node.output))
    return Traffic(sum(sizes[name] for name in ends), sum(sizes.get(name, 0) for name in moved))
