"""endoedge-model add-head"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from calibration import heads
from calibration.addhead import Order, add
from calibration.cli.shared import console, progress_bars
from calibration.fuse import Record

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "endoedge" / "features"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="folder with fp32.onnx and, if made, the other files of it")
    parser.add_argument("--head", required=True, metavar="NAME", help=f"one of: {', '.join(heads.names())}")
    parser.add_argument(
        "--manifest", type=Path, required=True, help="pictures to learn from (train) and be judged on (val)"
    )
    parser.add_argument("--out", type=Path, help="folder for the model with the head (default: the model's own)")
    parser.add_argument("--views", type=int, default=8, help="random views of each training picture (default 8)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the encoder's features are kept")
    parser.add_argument(
        "--unshippable", action="store_true", help="learn from data that may not be shipped too: a development head"
    )


def run(options: argparse.Namespace) -> int:
    """Train a head on a model's frozen encoder and fuse it into the model's files."""
    order = Order(
        folder=options.model,
        name=options.head,
        manifest=options.manifest,
        out=options.out or options.model,
        views=options.views,
        seed=options.seed,
        cache=options.cache,
        unshippable=options.unshippable,
        command=shlex.join(["endoedge-model", *sys.argv[1:]]),
    )
    with progress_bars() as progress:
        tasks: dict[str, Any] = {}

        def step(what: str, done: int, total: int) -> None:
            task = tasks.get(what) or tasks.setdefault(what, progress.add_task(what, total=total))
            progress.update(task, completed=done)

        record = add(order, step)
    _show(record)
    return 0


def _show(record: Record) -> None:
    """What it learned from and how good it is, both encodings side by side."""
    for split, counts in record.pictures.items():
        console.print(f"{split}: " + ", ".join(f"{label} {count}" for label, count in counts.items()))
    if record.left_out:
        console.print(f"left out by licence: {record.left_out}")
    table = Table(f"{record.name}, held out", *record.figures)
    some = next(iter(record.figures.values()))
    for figure in (name for name in some if f"{name}_ci95" in some):
        table.add_row(figure, *(_cell(report, figure) for report in record.figures.values()))
    for label in some.get("f1", {}):
        table.add_row(f"F1 {label}", *(_cell(report["f1"][label], "f1") for report in record.figures.values()))
    console.print(table)
    for name, report in record.figures.items():
        if "confusion" in report:
            console.print(f"{name}, n = {report['n']}; rows true, columns said: {report['confusion']}")
    console.print(f"for development only: {record.why}" if record.development else "may be released")


def _cell(report: dict[str, Any], figure: str) -> str:
    value, interval = report[figure], report[f"{figure}_ci95"]
    return "-" if value is None else f"{value:.4f}" + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else "")
