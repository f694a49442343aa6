"""endoedge-model evaluate"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from calibration.cli.shared import console, measured_of, subject_arguments, table_of


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="folder with fp32.onnx and int8.onnx")
    parser.add_argument("--json", action="store_true", help="one JSON object for machines")
    subject_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Dice, IoU, false share and speed of a model's two files, side by side."""
    proofs = measured_of(options, options.model / "fp32.onnx", options.model / "int8.onnx", options.model.name)
    if options.json:
        print(json.dumps({"model": options.model.name, "measured": [asdict(p) for p in proofs]}))
    else:
        console.print(table_of(proofs))
    return 0
