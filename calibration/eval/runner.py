"""The files of a model through ONNX Runtime, as on the box."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration import session
from calibration.encodings import FILE_OF
from calibration.pictures import Picture
from edge.errors import ModelError
from edge.types import TensorSpec

POLYP = "polyp"  # the output that marks polyps
RUNTIME = {
    "fp32": "FP32 in ONNX Runtime, CPU",
    "int8_cpu": "U8/128 in ONNX Runtime, CPU",
    "int8_trt": "S8/0, a file for TensorRT, but here run by ONNX Runtime on a CPU",
    "fp16_trt": "FP16, a file for TensorRT, but here run by ONNX Runtime on a CPU",
}
WARM_UP = 5  # runs of each file before the clock counts
DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}

Outputs = Mapping[str, NDArray[Any]]


class Runner:
    """One ONNX file of a model, run on pictures of any size. Not thread-safe."""

    def __init__(self, model: Path | bytes, threads: int = 2) -> None:
        """Raises ModelError: no such file, no ONNX, or not uint8 (1, S, S, 4) in."""
        self.name = "model" if isinstance(model, bytes) else str(model)
        try:
            source = model if isinstance(model, bytes) else model.read_bytes()
            self.sha256 = hashlib.sha256(source).hexdigest()
            self.session = session.opened(source, threads)
        except OSError as exc:
            raise ModelError(f"{self.name}: cannot be run: {exc.strerror}") from exc
        except Exception as exc:  # ONNX Runtime raises a dozen kinds, without a common parent
            raise ModelError(f"{self.name}: cannot be run: {exc}") from exc
        self.input, *others = (_spec(node) for node in self.session.get_inputs())
        self.outputs = tuple(_spec(node) for node in self.session.get_outputs())
        shape = self.input.shape
        if others or self.input.dtype != "uint8" or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 4:
            raise ModelError(f"{self.name}: input is {self.input.dtype} {shape}, expected uint8 (1, S, S, 4)")
        self.side = shape[1]

    def frame(self, picture: Picture) -> Picture:
        """RGB (H, W, 3) to the model's input, uint8 (1, S, S, 4)."""
        small = cv2.resize(picture, (self.side, self.side), interpolation=cv2.INTER_AREA)
        return np.dstack([small, np.full(small.shape[:2], 255, np.uint8)])[None]

    def infer(self, frame: Picture) -> Outputs:
        """All outputs by name. `frame`: uint8 (1, S, S, 4)."""
        names = [output.name for output in self.outputs]
        return dict(zip(names, self.session.run(names, {self.input.name: frame}), strict=True))

    def logits(self, picture: Picture) -> NDArray[np.float32]:
        """Polyp logits at the picture's own size, float32 (H, W)."""
        (polyp,) = self.session.run([POLYP], {self.input.name: self.frame(picture)})
        return enlarged(polyp, picture)


def enlarged(polyp: NDArray[Any], picture: Picture) -> NDArray[np.float32]:
    """The polyp output (1, 1, h, w) at the picture's own size, bilinear, float32 (H, W)."""
    return np.asarray(cv2.resize(polyp[0, 0], picture.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def opened(folder: Path, threads: int = 1) -> dict[str, Runner]:
    """The files that `folder` has, by encoding. ModelError when it has none."""
    runners = {name: Runner(folder / file, threads) for name, file in FILE_OF.items() if (folder / file).is_file()}
    if not runners:
        raise ModelError(f"{folder}: no model here: it has none of {', '.join(FILE_OF.values())}")
    return runners


def milliseconds(runners: Mapping[str, Runner], rounds: int = 60) -> dict[str, float]:
    """Median time of one picture for each runner, taken in turns so that a busy machine is busy for all of them."""
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for turn, (name, runner) in itertools.product(range(rounds + WARM_UP), runners.items()):
        frame = runner.frame(picture)
        began = time.perf_counter()
        runner.session.run(None, {runner.input.name: frame})
        if turn >= WARM_UP:
            taken[name].append(1e3 * (time.perf_counter() - began))
    return {name: float(np.median(times)) for name, times in taken.items()}


def _spec(node: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorSpec(name=node.name, dtype=DTYPES.get(node.type, node.type), shape=shape)
