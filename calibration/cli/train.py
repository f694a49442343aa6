"""endoedge-model train"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import cv2
import torch
from rich.progress import Progress

from calibration import pictures
from calibration.cli.shared import console, progress_bars
from calibration.encoders import mobilenetv2
from calibration.student import Student
from calibration.train import Epoch, Recipe, Run, Sources, trained

CACHE_SIDE = 320  # training pictures in memory; larger than the net's input, so that zooming in shows something


def arguments(parser: argparse.ArgumentParser) -> None:
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


def run(options: argparse.Namespace) -> int:
    """Train, or go on training."""
    cv2.setNumThreads(1)
    recipe = Recipe(**{field.name: getattr(options, field.name) for field in fields(Recipe)})
    torch.manual_seed(recipe.seed)
    student = trained(options.init) if options.init else Student(mobilenetv2.load(options.encoder_weights))
    held_out = pictures.segmentation(options.held_out, CACHE_SIDE) if options.held_out else []
    with progress_bars() as progress:
        training = Run(options.run, recipe, student, _sources(options, progress), options.threads)
        task = progress.add_task("epoch", total=training.steps)

        def step(done: int, steps: int) -> None:
            progress.update(
                task, description=f"epoch {training.done + 1} of {recipe.epochs}", completed=done, total=steps
            )

        for result in training.epochs(held_out, step):
            console.print(_epoch_line(result, recipe))
    return 0


def _sources(options: argparse.Namespace, progress: Progress) -> Sources:
    polyps = pictures.segmentation(options.data, CACHE_SIDE)
    free = pictures.polyp_free(options.polyp_free_folder, CACHE_SIDE, options.leave_out)
    drawn = pictures.phantom(options.phantom_seed, options.phantom_pictures, CACHE_SIDE)
    phantom = list(progress.track(drawn, total=options.phantom_pictures, description="phantom"))
    return Sources(polyps, free, phantom)


def _epoch_line(epoch: Epoch, recipe: Recipe) -> str:
    return f"epoch {epoch.epoch}/{recipe.epochs}  loss {epoch.loss:.4f}  Dice {epoch.dice:.4f}  {epoch.seconds:.0f} s"
