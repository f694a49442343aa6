"""endoedge-model quantize"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx

from calibration import pictures
from calibration.cli.shared import console
from calibration.evaluate import Runner
from calibration.quantize import ENCODINGS, calibrated, quantised
from calibration.ranges import METHODS


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="FP32 ONNX file, as `export` writes it")
    parser.add_argument("output", type=Path, help="INT8 ONNX file to write")
    parser.add_argument("--data", type=Path, required=True, help="training folder to calibrate on: images/ and masks/")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--method", choices=sorted(METHODS), default="mse")
    parser.add_argument("--encoding", choices=sorted(ENCODINGS), default="u8", help="u8: ONNX Runtime, s8: TensorRT")
    parser.add_argument("--no-bias-correction", dest="correct_bias", action="store_false")


def run(options: argparse.Namespace) -> int:
    """FP32 ONNX to INT8 by explicit Q/DQ."""
    runner = Runner(options.model)
    chosen = pictures.pairs(options.data)
    chosen = chosen[:: max(1, len(chosen) // options.pictures)][: options.pictures]
    frames = [runner.frame(pictures.read_pair(*pair).picture) for pair in chosen]
    model = onnx.load(str(options.model))
    calibration = calibrated(model, frames, options.method, correct_bias=options.correct_bias)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(quantised(model, calibration, options.encoding), str(options.output))
    console.print(
        f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB, {options.method}, {len(frames)} pictures"
    )
    return 0
