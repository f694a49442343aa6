"""python -m calibration train | export | quantize | evaluate | release

Pictures in, a released model out. Exit codes: 0 fine, 1 something is wrong with data or model, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import cv2
import onnx
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from calibration import datasets
from calibration.encoders import mobilenetv2
from calibration.evaluate import Runner
from calibration.export import exported
from calibration.prove import Proof, measured, speed, subjects
from calibration.quantize import ENCODINGS, calibrated, quantised
from calibration.ranges import METHODS
from calibration.release import release
from calibration.student import Student
from calibration.train import Epoch, Recipe, Run, Sources, trained
from edge.errors import EdgeError, UsageError

CACHE_SIDE = 320  # training pictures in memory; larger than the net's input, so that zooming in shows something
console = Console()


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


# ----------------------------------------------------------------------------------------------- train


def train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="training folder with images/ and masks/")
    parser.add_argument("--held-out", type=Path, help="the same, for the figure printed after every epoch")
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--encoder-weights", type=Path, help="start from these MobileNetV2 weights")
    start.add_argument("--init", type=Path, help="start from this checkpoint of another run")
    parser.add_argument("--polyp-free-folder", type=Path, action="append", default=[], help="pictures without polyps")
    parser.add_argument("--leave-out", default="", help="skip polyp-free pictures whose names start with this")
    parser.add_argument("--phantom-seed", type=int, default=1000, help="seed of the phantom's training pictures")
    parser.add_argument("--phantom-pictures", type=int, default=0, help="phantom pictures to draw from")
    parser.add_argument("--run", type=Path, required=True, help="folder of checkpoint and log; goes on if it has one")
    parser.add_argument("--threads", type=int, default=2)
    recipe = parser.add_argument_group("recipe")
    for field in fields(Recipe):
        if field.name != "bfloat16":
            flag = "--" + field.name.replace("_", "-")
            recipe.add_argument(flag, type=type(field.default), default=field.default, help=f"default {field.default}")
    recipe.add_argument("--float32", dest="bfloat16", action="store_false", help="no bfloat16 autocast")


def _sources(options: argparse.Namespace, progress: Progress) -> Sources:
    polyps = datasets.segmentation(options.data, CACHE_SIDE)
    free = datasets.polyp_free(options.polyp_free_folder, CACHE_SIDE, options.leave_out)
    drawn = datasets.phantom(options.phantom_seed, options.phantom_pictures, CACHE_SIDE)
    phantom = list(progress.track(drawn, total=options.phantom_pictures, description="phantom"))
    return Sources(polyps, free, phantom)


def train(options: argparse.Namespace) -> int:
    """Train, or go on training."""
    cv2.setNumThreads(1)
    recipe = Recipe(**{field.name: getattr(options, field.name) for field in fields(Recipe)})
    torch.manual_seed(recipe.seed)
    student = trained(options.init) if options.init else Student(mobilenetv2.load(options.encoder_weights))
    held_out = datasets.segmentation(options.held_out, CACHE_SIDE) if options.held_out else []
    with _progress() as progress:
        run = Run(options.run, recipe, student, _sources(options, progress), options.threads)
        task = progress.add_task("epoch", total=run.steps)

        def step(done: int, steps: int) -> None:
            progress.update(task, description=f"epoch {run.done + 1} of {recipe.epochs}", completed=done, total=steps)

        for epoch in run.epochs(held_out, step):
            console.print(_epoch_line(epoch, recipe))
    return 0


def _epoch_line(epoch: Epoch, recipe: Recipe) -> str:
    return f"epoch {epoch.epoch}/{recipe.epochs}  loss {epoch.loss:.4f}  Dice {epoch.dice:.4f}  {epoch.seconds:.0f} s"


# ---------------------------------------------------------------------------------- export and quantize


def export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="checkpoint.pt of a run")
    parser.add_argument("output", type=Path, help="FP32 ONNX file to write")
    parser.add_argument("--side", type=int, default=256, help="width and height of the model's input")


def export(options: argparse.Namespace) -> int:
    """A checkpoint to FP32 ONNX."""
    options.output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(exported(trained(options.checkpoint), options.side), str(options.output))
    console.print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB")
    return 0


def quantize_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="FP32 ONNX file, as `export` writes it")
    parser.add_argument("output", type=Path, help="INT8 ONNX file to write")
    parser.add_argument("--data", type=Path, required=True, help="training folder to calibrate on: images/ and masks/")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--method", choices=sorted(METHODS), default="mse")
    parser.add_argument("--encoding", choices=sorted(ENCODINGS), default="u8", help="u8: ONNX Runtime, s8: TensorRT")
    parser.add_argument("--no-bias-correction", dest="correct_bias", action="store_false")


def quantize(options: argparse.Namespace) -> int:
    """FP32 ONNX to INT8 by explicit Q/DQ."""
    runner = Runner(options.model)
    chosen = datasets.pairs(options.data)
    chosen = chosen[:: max(1, len(chosen) // options.pictures)][: options.pictures]
    frames = [runner.frame(datasets.read_pair(*pair).picture) for pair in chosen]
    model = onnx.load(str(options.model))
    calibration = calibrated(model, frames, options.method, correct_bias=options.correct_bias)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(quantised(model, calibration, options.encoding), str(options.output))
    console.print(
        f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB, {options.method}, {len(frames)} pictures"
    )
    return 0


# --------------------------------------------------------------------------------- evaluate and release


def _subject_arguments(parser: argparse.ArgumentParser) -> None:
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


def _measured(options: argparse.Namespace, fp32: Path, int8: Path, name: str) -> list[Proof]:
    wanted = subjects(options.data, options.polyp_free, options.phantom)
    if not wanted and not options.speed:
        raise UsageError("nothing to measure: give --data, --polyp-free, --phantom or --speed")
    proofs = []
    with _progress() as progress:
        for subject in progress.track(wanted, description="measuring"):
            proofs += measured(subject, fp32, int8, name)
    return proofs + (speed(fp32, int8, name) if options.speed else [])


def _table(proofs: Sequence[Proof]) -> Table:
    table = Table("dataset", "metric", "FP32", "INT8")
    for proof in proofs:
        table.add_row(proof.dataset, proof.metric, f"{proof.fp32:.4f}", f"{proof.int8:.4f}")
    return table


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="folder with fp32.onnx and int8.onnx")
    parser.add_argument("--json", action="store_true", help="one JSON object for machines")
    _subject_arguments(parser)


def evaluate(options: argparse.Namespace) -> int:
    """Dice, IoU, false share and speed of a model's two files, side by side."""
    proofs = _measured(options, options.model / "fp32.onnx", options.model / "int8.onnx", options.model.name)
    if options.json:
        print(json.dumps({"model": options.model.name, "measured": [asdict(p) for p in proofs]}))
    else:
        console.print(_table(proofs))
    return 0


def release_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "description", type=Path, help="TOML: name, version, labels, licence, training data, card's text"
    )
    parser.add_argument("fp32", type=Path)
    parser.add_argument("int8", type=Path)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the released models' folders")
    _subject_arguments(parser)


def release_command(options: argparse.Namespace) -> int:
    """Measure two ONNX files and write the model's folder: files, model.toml, MODEL_CARD.md."""
    for path in (options.description, options.fp32, options.int8):
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
    name = options.description.stem
    proofs = _measured(options, options.fp32, options.int8, name)
    folder = release(options.description, options.fp32, options.int8, proofs, options.models)
    console.print(_table(proofs))
    console.print(f"released {folder}")
    return 0


# ------------------------------------------------------------------------------------------------ main

COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]] = {
    "train": (train_arguments, train),
    "export": (export_arguments, export),
    "quantize": (quantize_arguments, quantize),
    "evaluate": (evaluate_arguments, evaluate),
    "release": (release_arguments, release_command),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. An EdgeError is one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m calibration", description="Makes and proves EndoEdge's models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (arguments, command) in COMMANDS.items():
        sub = commands.add_parser(name, help=command.__doc__)
        arguments(sub)
        sub.set_defaults(command=command)
    options = parser.parse_args(argv)
    try:
        return int(options.command(options))
    except EdgeError as exc:
        print(f"calibration: {exc}", file=sys.stderr)
        return exc.exit_code
