"""A real little ONNX model with the product's tensors, made on the spot. What is green is a polyp."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from calibration import golden, toml
from edge import paths
from edge.cli import assemble
from edge.config import PipelineConfig
from edge.decide.config import RulesConfig
from edge.types import Golden, Manifest, Measurement, ModelFile, ModelHead, Precision, TensorSpec

SIZE = 64  # W = H of the frames it eats
NAME = "green"
PRECISIONS: tuple[Precision, ...] = ("int8", "fp32")
WITH_TENSORRT: tuple[Precision, ...] = (*PRECISIONS, "int8_trt", "fp16_trt")


def build(folder: Path, size: int = SIZE, precisions: Sequence[Precision] = PRECISIONS) -> Path:
    """Write `model.toml` and what it names (all precisions are the same file here). Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = graph(size).SerializeToString()
    for name in precisions:
        (folder / f"{name}.onnx").write_bytes(content)
    frames = np.random.default_rng(7).integers(0, 256, (2, size, size, 4), np.uint8)
    vectors = golden.written(dict.fromkeys(precisions, content), frames, folder / "golden.npz")
    write(folder, manifest(size, hashlib.sha256(content).hexdigest(), vectors, precisions))
    return folder


def tables() -> str:
    """The shipped pipeline as far as the little model can follow it: regions and the table of bounds."""
    shipped = (paths.data_dir("pipelines") / "colonoscopy.toml").read_text(encoding="utf-8")
    return followed(shipped)


def followed(shipped: str) -> str:
    """The same of any pipeline."""
    own = ('kind = "classify"', "[landmarks]]", "[judgements]]")
    kept = "\n[".join(table for table in shipped.split("\n[") if not any(word in table for word in own))
    lines = (line for line in kept.splitlines(keepends=True) if not line.startswith(("condition", "turn")))
    return "".join(lines).replace("polyp-mobilenetv2-256", NAME)


def pipeline(folder: Path) -> tuple[PipelineConfig, RulesConfig]:
    """It, read as the box reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "colonoscopy.toml"
    file.write_text(tables(), encoding="utf-8")
    return assemble.load_pipeline(file)


def write(folder: Path, said: Manifest) -> None:
    (folder / "model.toml").write_text(toml.dumps(msgspec.to_builtins(said)), encoding="utf-8")


def manifest(size: int, digest: str, vectors: Golden, precisions: Sequence[Precision] = PRECISIONS) -> Manifest:
    outputs = [("polyp", 1, size // 2), ("thumbnail", 3, size // 8), ("detail", 1, size // 8)]
    return Manifest(
        name=NAME,
        version="1",
        labels=["polyp"],
        licence="Apache-2.0",
        training_data=["none"],
        files={name: ModelFile(path=f"{name}.onnx", sha256=digest) for name in precisions},
        input=TensorSpec(name="image", dtype="uint8", shape=(1, size, size, 4)),
        outputs=[
            TensorSpec(name=name, dtype="float32", shape=(1, channels, side, side)) for name, channels, side in outputs
        ],
        heads=[ModelHead(name="polyp", output="polyp", kind="segment", labels=["polyp"])],
        measured=[Measurement(dataset="none", metric="none", command="none")],
        golden=vectors,
    )


def graph(size: int) -> onnx.ModelProto:
    green = np.array([-0.2, 0.4, -0.2, 0], np.float32).reshape(1, 4, 1, 1)
    luma = np.array([0.299, 0.587, 0.114, 0], np.float32).reshape(1, 4, 1, 1)
    rgb = np.eye(4, dtype=np.float32)[:3].reshape(3, 4, 1, 1)
    laplacian = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32).reshape(1, 1, 3, 3)
    weights = {"green": green, "luma": luma, "rgb": rgb, "laplacian": laplacian, "below": np.array(8, np.float32)}
    nodes = [
        helper.make_node("Cast", ["image"], ["nhwc"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["nhwc"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "green"], ["g"]),
        helper.make_node("AveragePool", ["g"], ["g2"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Sub", ["g2", "below"], ["polyp"]),
        helper.make_node("Conv", ["x", "rgb"], ["c"]),
        helper.make_node("AveragePool", ["c"], ["thumbnail"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["x", "luma"], ["l"]),
        helper.make_node("Conv", ["l", "laplacian"], ["d"], pads=[1, 1, 1, 1]),
        helper.make_node("Abs", ["d"], ["a"]),
        helper.make_node("AveragePool", ["a"], ["detail"], kernel_shape=[8, 8], strides=[8, 8]),
    ]
    value = helper.make_tensor_value_info
    outputs = [("polyp", 1, size // 2), ("thumbnail", 3, size // 8), ("detail", 1, size // 8)]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "green",
            [value("image", TensorProto.UINT8, [1, size, size, 4])],
            [value(name, TensorProto.FLOAT, [1, channels, side, side]) for name, channels, side in outputs],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model
