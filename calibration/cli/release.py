"""endoedge-model release"""

from __future__ import annotations

import argparse
from pathlib import Path

from calibration.cli.shared import console
from calibration.release import release


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("description", type=Path, help="calibration/releases/NAME.toml: version, licence, data, the card's words")
    add("build", type=Path, help="folder with *.onnx, heads/, quantize.json, run.json")
    add(
        "--eval",
        type=Path,
        action="append",
        required=True,
        metavar="FILE",
        help="what `eval --json` printed of the build",
    )
    add("--models", type=Path, default=Path("models"), metavar="DIR", help="folder of the released models (models)")


def run(options: argparse.Namespace) -> int:
    """Write a build and what was measured of it as a released model, or say why not."""
    folder = release(options.description, options.build, options.eval, options.models)
    for path in sorted(folder.iterdir()):
        console.print(f"{path}: {path.stat().st_size / 1e6:.2f} MB", soft_wrap=True)
    return 0
