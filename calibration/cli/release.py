"""endoedge-model release"""

from __future__ import annotations

import argparse
from pathlib import Path

from calibration.cli.shared import console, measured_of, subject_arguments, table_of
from calibration.release import release
from edge.errors import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "description", type=Path, help="TOML: name, version, labels, licence, training data, card's text"
    )
    parser.add_argument("fp32", type=Path)
    parser.add_argument("int8", type=Path)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the released models' folders")
    subject_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Measure two ONNX files and write the model's folder: files, model.toml, MODEL_CARD.md."""
    for path in (options.description, options.fp32, options.int8):
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
    name = options.description.stem
    proofs = measured_of(options, options.fp32, options.int8, name)
    folder = release(options.description, options.fp32, options.int8, proofs, options.models)
    console.print(table_of(proofs))
    console.print(f"released {folder}")
    return 0
