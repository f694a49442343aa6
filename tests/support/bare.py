"""A net that was never trained but offers what a released one does; pictures whose label is their colour; orders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from calibration import manifest
from calibration.addhead import Order
from calibration.export import OPSET, SCALE, ZERO
from calibration.fuse import session, tapped
from calibration.manifest import Entry
from calibration.quantize import calibrated, quantised
from calibration.strong_types import in_halves

SIDE, CHANNELS = 64, 8
COLOURS = {"0": (200, 60, 50), "1": (60, 180, 60), "2": (60, 60, 200), "3": (200, 200, 60)}  # a label's colour, RGB


def unmoved(what: str, done: int, total: int) -> None:
    assert 0 < done <= total


def small_net() -> onnx.ModelProto:
    """What `export.exported` makes, in miniature: the same names and the same order of things, random weights."""
    rng, node = np.random.default_rng(3), helper.make_node

    def weights(*shape: int) -> np.ndarray:
        return (rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants = {
        "image.scale": SCALE,
        "image.zero": ZERO,
        "stem.weight": weights(CHANNELS, 4, 4, 4) * np.array([1, 1, 1, 0], np.float32)[:, None, None],
        "deep.weight": weights(16, CHANNELS, 3, 3),
        "logits.weight": weights(4, CHANNELS, 1, 1),
        "axes": np.array([2, 3]),
    }
    nodes = [
        node("Transpose", ["image"], ["planes"], "planes", perm=[0, 3, 1, 2]),
        node("DequantizeLinear", ["planes", "image.scale", "image.zero"], ["x"], "normalise"),
        node("Conv", ["x", "stem.weight"], ["stem"], "stem", kernel_shape=[4, 4], strides=[4, 4]),
        node("Relu", ["stem"], ["decoder4"], "decoder4"),
        node("Conv", ["decoder4", "deep.weight"], ["level32"], "deep", kernel_shape=[3, 3], strides=[8, 8]),
        node("ReduceMean", ["decoder4", "axes"], ["fine"], "fine", keepdims=0),
        node("ReduceMean", ["level32", "axes"], ["coarse"], "coarse", keepdims=0),
        node("Concat", ["fine", "coarse"], ["features"], "features", axis=1),
        node("Conv", ["decoder4", "logits.weight"], ["logits"], "logits", kernel_shape=[1, 1]),
        node("DepthToSpace", ["logits"], ["polyp"], "polyp", blocksize=2),
    ]
    shapes = {"polyp": [1, 1, SIDE // 2, SIDE // 2], "features": [1, CHANNELS + 16]}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, SIDE, SIDE, 4])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def written(folder: Path) -> Path:
    """All files of a net that was never trained: its features are good enough for colours."""
    net = small_net()
    rng = np.random.default_rng(4)
    frames = [rng.integers(0, 256, (1, SIDE, SIDE, 4), np.uint8) for _ in range(3)]
    calibration = calibrated(net, frames, "min-max")
    onnx.save(net, str(folder / "fp32.onnx"))
    onnx.save(quantised(net, calibration, "u8"), str(folder / "int8.onnx"))
    onnx.save(quantised(net, calibration, "s8"), str(folder / "int8_trt.onnx"))
    onnx.save(in_halves(net), str(folder / "fp16_trt.onnx"))
    return folder


def entry(path: str, split: str, labels: dict[str, str], **more: Any) -> Entry:
    group = more.pop("group", f"group {path}")
    defaults = {"dataset": "drawn", "licence": "ours", "ships": True, "sha256": f"{abs(hash(path)):064x}"[:64]}
    return Entry(path=path, split=split, labels=labels, group=group, **(defaults | more))  # type: ignore[arg-type]


def drawn(folder: Path, head: str, labels: tuple[str, ...], train: int = 10, val: int = 5) -> list[Entry]:
    """Pictures whose label is their colour, with some noise, so that no two are alike."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, entries = np.random.default_rng(5), []
    for label, colour in zip(labels, COLOURS.values(), strict=False):
        for number in range(train + val):
            picture = np.array(colour) + rng.normal(0, 12, (48, 48, 3)) + rng.normal(0, 15)
            name = f"{label}-{number}.png"
            cv2.imwrite(str(folder / name), np.clip(picture, 0, 255).astype(np.uint8)[..., ::-1])
            entries.append(entry(name, "train" if number < train else "val", {head: label}))
    return entries


def listed(folder: Path, entries: list[Entry]) -> Path:
    """A manifest of entries of one data set, or of the phantom."""
    folder.mkdir(parents=True, exist_ok=True)
    roots = [
        manifest.Root(dataset=name, layout="phantom" if name.startswith("phantom") else "folder", path=str(folder))
        for name in sorted({e.dataset for e in entries})
    ]
    path = folder / "manifest.jsonl"
    lines = [msgspec.json.encode(manifest.Header(roots=tuple(roots))), *map(msgspec.json.encode, entries)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def order(bare: Path, tmp_path: Path, name: str, entries: list[Entry], **more: Any) -> Order:
    path = listed(tmp_path / "data", entries)
    defaults = {"views": 2, "seed": 1, "out": tmp_path / "out", "cache": tmp_path / "cache"}
    return Order(folder=bare, name=name, manifest=path, **(defaults | more))


def outputs_of(path: Path, frame: np.ndarray) -> dict[str, np.ndarray]:
    opened = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(None, {"image": frame}), strict=True))


def tapped_session(path: Path) -> ort.InferenceSession:
    """One of the files, up to what heads read."""
    model = onnx.load(str(path))
    return session(model, [tapped(model, "features")])
