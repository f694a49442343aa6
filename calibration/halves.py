"""Half the bytes, the same numbers: weights kept as float16, with a Cast to float32 that every runtime folds away.

It works because `rounded` makes the weights exact float16 numbers before anything is measured or quantised: the FP32
reference *is* the net with rounded weights, and `halved` only changes how the file spells them.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge.errors import ModelError

LARGE = 256  # values; below that a Cast's own bytes would eat what float16 saves
SUFFIX = "/half"


def _copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _is_large(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= LARGE)


def _half(name: str, values: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        worst = float(np.abs(values).max())
        raise ModelError(f"weight {name}: {worst:g} does not fit float16, which ends at {np.finfo(np.float16).max:g}")
    return half


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large float32 weights are the nearest float16 numbers, still stored as float32.

    Raises ModelError for a weight beyond float16's reach (or no number at all).
    """
    model = _copied(model)
    for tensor in filter(_is_large, model.graph.initializer):
        values = _half(tensor.name, numpy_helper.to_array(tensor)).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that stores every large weight that is exactly float16 as float16 and a Cast; the others stay."""
    model = _copied(model)
    casts = []
    for tensor in filter(_is_large, model.graph.initializer):
        name, values = tensor.name, numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            tensor.CopyFrom(numpy_helper.from_array(half, name + SUFFIX))
            casts.append(helper.make_node("Cast", [name + SUFFIX], [name], f"{name}/Cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def whole(model: onnx.ModelProto) -> onnx.ModelProto:
    """What `halved` was given: float32 weights again, for tools that read weights from a released fp32.onnx."""
    model = _copied(model)
    of_half = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name.endswith(SUFFIX)}
    nodes = [node for node in model.graph.node if not (node.op_type == "Cast" and node.input[0] in of_half)]
    for name, tensor in of_half.items():
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, name.removesuffix(SUFFIX)))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
