"""What the commands share: the console, the progress bars, and the old way to name what is measured."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from calibration.prove import Proof, measured, speed, subjects
from edge.errors import UsageError

console = Console()


def progress_bars() -> Progress:
    """Gone when done; silent where nobody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def subject_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", action="append", default=[], metavar="NAME=FOLDER", help="images/ and masks/: Dice, IoU"
    )
    parser.add_argument(
        "--polyp-free",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="folder or video without polyps: false share",
    )
    parser.add_argument(
        "--phantom", action="append", default=[], metavar="SEED:COUNT", help="phantom pictures: Dice, IoU"
    )
    parser.add_argument("--speed", action="store_true", help="milliseconds a picture with 1 and 2 threads")


def measured_of(options: argparse.Namespace, fp32: Path, int8: Path, name: str) -> list[Proof]:
    wanted = subjects(options.data, options.polyp_free, options.phantom)
    if not wanted and not options.speed:
        raise UsageError("nothing to measure: give --data, --polyp-free, --phantom or --speed")
    proofs = []
    with progress_bars() as progress:
        for subject in progress.track(wanted, description="measuring"):
            proofs += measured(subject, fp32, int8, name)
    return proofs + (speed(fp32, int8, name) if options.speed else [])


def table_of(proofs: Sequence[Proof]) -> Table:
    table = Table("dataset", "metric", "FP32", "INT8")
    for proof in proofs:
        table.add_row(proof.dataset, proof.metric, f"{proof.fp32:.4f}", f"{proof.int8:.4f}")
    return table
