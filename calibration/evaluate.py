"""How good a released model is: accuracy, false marks and speed of its files through ONNX Runtime, as on the box."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from calibration.pictures import Picture, Sample
from edge.errors import ModelError

FALSE_AREA = 0.005  # a marked region this large (share of the picture) on a picture without polyps counts as false


@dataclass(frozen=True)
class Overlap:
    """How well two regions agree, 0..1. Two empty regions agree fully."""

    dice: float
    iou: float


def overlap(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Overlap:
    """Dice and IoU of two masks of one shape."""
    both, total = int((found & truth).sum()), int(found.sum()) + int(truth.sum())
    if total == 0:
        return Overlap(1.0, 1.0)
    return Overlap(2 * both / total, both / (total - both))


class Runner:
    """One ONNX file of a model, run on pictures of any size. Not thread-safe."""

    def __init__(self, model: Path | bytes, threads: int = 2) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        source = model if isinstance(model, bytes) else str(model)
        try:
            self.session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # ONNX Runtime raises a dozen kinds, without a common parent
            raise ModelError(f"{'model' if isinstance(model, bytes) else model}: cannot be run: {exc}") from exc
        self.side = int(self.session.get_inputs()[0].shape[1])

    def frame(self, picture: Picture) -> Picture:
        """RGB (H, W, 3) to the model's input, uint8 (1, S, S, 4)."""
        small = cv2.resize(picture, (self.side, self.side), interpolation=cv2.INTER_AREA)
        return np.dstack([small, np.full(small.shape[:2], 255, np.uint8)])[None]

    def logits(self, picture: Picture) -> NDArray[np.float32]:
        """Polyp logits at the picture's own size (bilinear), float32 (H, W)."""
        (polyp,) = self.session.run(["polyp"], {"image": self.frame(picture)})
        return np.asarray(cv2.resize(polyp[0, 0], picture.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def mean_overlap(runner: Runner, samples: Iterable[Sample]) -> Overlap:
    """Mean over pictures of each picture's Dice and IoU, at probability 0.5."""
    scores = [overlap(runner.logits(s.picture) > 0, s.mask > 0) for s in samples]
    return Overlap(float(np.mean([s.dice for s in scores])), float(np.mean([s.iou for s in scores])))


def false_share(runner: Runner, pictures: Iterable[Picture]) -> float:
    """Share of polyp-free pictures on which at least FALSE_AREA is marked."""
    return float(np.mean([(runner.logits(p) > 0).mean() >= FALSE_AREA for p in pictures]))


def milliseconds(runners: dict[str, Runner], rounds: int = 60) -> dict[str, float]:
    """Median time of one picture for each runner, taken in turns so that a busy machine is busy for all of them."""
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for turn, (name, runner) in itertools.product(range(rounds + 5), runners.items()):
        frame = runner.frame(picture)
        began = time.perf_counter()
        runner.session.run(None, {"image": frame})
        if turn >= 5:
            taken[name].append(1e3 * (time.perf_counter() - began))
    return {name: float(np.median(times)) for name, times in taken.items()}
