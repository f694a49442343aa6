"""The little model with two heads more: the caecum is where there is something green, and preparation is adequate."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from calibration import golden
from edge.types import ModelHead, TensorSpec
from tests.support import models

LABELS = {"landmark": ["other", "caecum"], "preparation": ["adequate", "inadequate"]}
WEIGHTS = {
    "landmark": ([[-3.0, 3.0]], [-18.6, 18.6]),  # mean greenness: -8.6 of bare mucosa, -3.8 with the spot of clips.py
    "preparation": ([[0.0, 0.0]], [2.0, -2.0]),
}

TABLES = """
[[heads]]
kind = "classify"
output = "landmark"
[[heads]]
kind = "classify"
output = "preparation"
[[landmarks]]
kind = "caecum"
head = "landmark"
label = "caecum"
[[judgements]]
kind = "preparation"
head = "preparation"
"""  # a pipeline's, for these two


def build(folder: Path) -> Path:
    """A whole model folder, as `models.build` makes it."""
    models.build(folder)
    model = onnx.load_model_from_string((folder / "int8.onnx").read_bytes())
    graph = model.graph
    graph.node.append(helper.make_node("GlobalAveragePool", ["g"], ["mean"]))
    graph.node.append(helper.make_node("Flatten", ["mean"], ["features"]))
    for name, (slope, offset) in WEIGHTS.items():
        for part, values in (("slope", slope), ("offset", offset)):
            graph.initializer.append(numpy_helper.from_array(np.array(values, np.float32), f"{name}.{part}"))
        graph.node.append(helper.make_node("Gemm", ["features", f"{name}.slope", f"{name}.offset"], [name]))
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, len(LABELS[name])]))
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    for precision in models.PRECISIONS:
        (folder / f"{precision}.onnx").write_bytes(content)
    frames = np.random.default_rng(7).integers(0, 256, (2, models.SIZE, models.SIZE, 4), np.uint8)
    vectors = golden.written(dict.fromkeys(models.PRECISIONS, content), frames, folder / "golden.npz")
    plain = models.manifest(models.SIZE, hashlib.sha256(content).hexdigest(), vectors)
    more = [TensorSpec(name=name, dtype="float32", shape=(1, len(labels))) for name, labels in LABELS.items()]
    heads = [ModelHead(name=name, output=name, kind="classify", labels=labels) for name, labels in LABELS.items()]
    models.write(folder, msgspec.structs.replace(plain, outputs=[*plain.outputs, *more], heads=[*plain.heads, *heads]))
    return folder
