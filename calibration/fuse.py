"""A trained head put behind the tensor it reads, in any file of a model; nothing that was there before is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from calibration.heads import Kind
from calibration.learn import Layer
from calibration.session import opened
from edge.errors import ModelError
from edge.types import Struct

FOLDER = "heads"  # of a model's folder: a record of every head that was added


class Record(Struct, frozen=True, kw_only=True):
    """`heads/NAME.json`: what a head is, what it learned from, and what it was measured at."""

    name: str
    output: str
    kind: Kind
    labels: tuple[str, ...]
    development: bool  # not for release: unshippable data, or a head whose policy says so
    why: str  # the reason, where it is for development only
    pictures: dict[str, dict[str, int]]  # by split and label; a head that makes its examples counts sources
    views: int  # of each training picture
    seed: int
    datasets: tuple[str, ...]
    licences: tuple[str, ...]
    left_out: int  # pictures whose licence does not allow weights to be shipped
    command: str
    figures: dict[str, dict[str, Any]]  # by encoding (fp32, int8_cpu): as calibration.eval.classes reports them


@dataclass(frozen=True)
class Fused:
    """A head ready to be put in: `layers` read `tap` and make the output `name`."""

    name: str
    tap: str
    layers: Sequence[Layer]


def records(folder: Path) -> list[Record]:
    """The heads that were added to the model in `folder`, by name. ModelError names a record that cannot be read."""
    found = []
    for path in sorted((folder / FOLDER).glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Record))
        except msgspec.MsgspecError as exc:
            raise ModelError(f"{path}: not a record of a head: {exc}") from exc
    return found


def tapped(model: onnx.ModelProto, tap: str) -> str:
    """The tensor that stands for `tap`: in a quantised file a map is what comes off its grid."""
    made = {name for node in model.graph.node for name in node.output}
    for name in (f"{tap}/dq", tap):
        if name in made:
            return name
    raise ModelError(f"the model has no {tap}: export it again")


def width_of(model: onnx.ModelProto, parts: int) -> int:
    """How many of the first columns of `features` its first parts are. ModelError: it has not so many."""
    (joined,) = (node for node in model.graph.node if "features" in node.output)
    if len(joined.input) < parts:
        raise ModelError(f"`features` is joined from {len(joined.input)} parts, expected {parts} or more")
    known = {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    return sum(known[name].type.tensor_type.shape.dim[1].dim_value for name in joined.input[:parts])


def fused(model: onnx.ModelProto, head: Fused) -> onnx.ModelProto:
    """A copy with the head's float layers and its output, checked by onnx. ModelError: no tap, or a name taken."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, source = copy.graph, tapped(model, head.tap)
    if head.name in {output.name for output in graph.output}:
        raise ModelError(f"the model already has an output {head.name}")
    _freed(graph, head.name)
    for place, layer in enumerate(head.layers):
        stem = f"{head.name}/{place}"
        last = place == len(head.layers) - 1
        result = head.name if last else f"{stem}/sum"
        graph.initializer.append(numpy_helper.from_array(layer.weight, f"{stem}/weight"))
        graph.initializer.append(numpy_helper.from_array(layer.bias, f"{stem}/bias"))
        inputs = [source, f"{stem}/weight", f"{stem}/bias"]
        graph.node.append(_product(layer, inputs, result, stem))
        source = result
        if not last:
            graph.node.append(helper.make_node("Relu", [result], [f"{stem}/relu"], f"{stem}/relu"))
            source = f"{stem}/relu"
    graph.output.append(helper.make_tensor_value_info(head.name, TensorProto.FLOAT, _shape(copy, head)))
    onnx.checker.check_model(copy, full_check=True)
    return copy


def _freed(graph: onnx.GraphProto, name: str) -> None:
    """Give an inner tensor of this name another: exporters call theirs after operations, `view` for one."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [f"{name}/inner" if one == name else one for one in names]


def _product(layer: Layer, inputs: list[str], result: str, name: str) -> onnx.NodeProto:
    if layer.weight.ndim == 2:
        return helper.make_node("Gemm", inputs, [result], name, transB=1)
    kernel = list(layer.weight.shape[2:])
    return helper.make_node("Conv", inputs, [result], name, kernel_shape=kernel, pads=[k // 2 for k in kernel] * 2)


def _shape(model: onnx.ModelProto, head: Fused) -> list[int]:
    """(1, K), or (1, 1, h, w): a map of a quarter of the input's sides."""
    outputs = head.layers[-1].weight.shape[0]
    if head.layers[-1].weight.ndim == 2:
        return [1, outputs]
    height, width = (d.dim_value // 4 for d in model.graph.input[0].type.tensor_type.shape.dim[1:3])
    return [1, outputs, height, width]


def session(model: onnx.ModelProto, outputs: Sequence[str]) -> InferenceSession:
    """One thread, and only what these tensors of the model need is computed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {output.name: output for output in copy.graph.output}
    kept = [known.get(name) or helper.make_empty_tensor_value_info(name) for name in outputs]
    del copy.graph.output[:]
    copy.graph.output.extend(kept)
    return opened(copy)


def prove_unchanged(before: onnx.ModelProto, after: onnx.ModelProto, frames: Sequence[NDArray[np.uint8]]) -> None:
    """ModelError unless every output that was there says the same of every frame, to the last bit."""
    names = [output.name for output in before.graph.output]
    old, new = session(before, names), session(after, [output.name for output in after.graph.output])
    for frame in frames:
        for name, was, now in zip(
            names, old.run(None, {"image": frame}), new.run(names, {"image": frame}), strict=True
        ):
            if not np.array_equal(was, now):
                raise ModelError(f"output {name} is no longer what it was: the head is not put in")
