"""A finished student to the files of a model folder: FP32 reference, and one calibration's two INT8 encodings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx

from calibration import datasets
from calibration.export import exported
from calibration.halves import halved, rounded
from calibration.manifest import Entry
from calibration.pictures import Picture
from calibration.quantize import calibrated, quantised
from calibration.ranges import Frame
from calibration.train.job import Job, trained
from calibration.train.sources import Pool

FILES = {"int8.onnx": "u8", "int8_trt.onnx": "s8"}  # and the encoding of each


def frame(picture: Picture, side: int) -> Frame:
    """RGB (H, W, 3) to a model's input, uint8 (1, S, S, 4)."""
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return np.dstack([small, np.full(small.shape[:2], 255, np.uint8)])[None]


def spread(entries: Sequence[Entry], count: int) -> Sequence[Entry]:
    """`count` of the entries, evenly spread over all of them."""
    return [entries[index * len(entries) // count] for index in range(count)]


def write_model(job: Job, pool: Pool) -> Path:
    """RUN/model/ with fp32.onnx, int8.onnx and int8_trt.onnx, made new. Weights are float16 numbers from here on."""
    recipe = job.recipe
    fp32 = rounded(exported(trained(job.checkpoint(recipe.student.name)), recipe.side))
    chosen = spread(pool.polyps, recipe.quantize.pictures)
    frames = [frame(datasets.load(entry, pool.manifest.root(entry)).picture, recipe.side) for entry in chosen]
    calibration = calibrated(fp32, frames, recipe.quantize.method)
    folder = job.folder / "model"
    folder.mkdir(exist_ok=True)
    onnx.save(halved(fp32), str(folder / "fp32.onnx"))
    for name, encoding in FILES.items():
        onnx.save(quantised(fp32, calibration, encoding), str(folder / name))
    return folder
