"""endoedge-model export"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx

from calibration.cli.shared import console
from calibration.export import exported
from calibration.train import trained


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="checkpoint.pt of a run")
    parser.add_argument("output", type=Path, help="FP32 ONNX file to write")
    parser.add_argument("--side", type=int, default=256, help="width and height of the model's input")


def run(options: argparse.Namespace) -> int:
    """A checkpoint to FP32 ONNX."""
    options.output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(exported(trained(options.checkpoint), options.side), str(options.output))
    console.print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB")
    return 0
