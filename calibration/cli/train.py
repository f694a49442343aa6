"""endoedge-model train"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
from rich.progress import Progress

from calibration import manifest, recipe
from calibration.cli.shared import console, progress_bars
from calibration.recipe import AnyStage
from calibration.train import Epoch, Job, Watcher, placed
from calibration.train.whole import make


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--recipe", type=Path, required=True, help="TOML: stages, heads, quantisation (calibration/recipes/)")
    add("--manifest", type=Path, required=True, help="the pictures, as `manifest` lists them")
    add("--run", type=Path, required=True, help="folder of logs and model; a killed run goes on where it was")
    add("--weights", type=Path, help='what stages of start = "weights" start from')
    add("--teacher", type=Path, help='transformer checkpoint folder, for stages of teacher = "folder"')
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU where there is one")
    add("--threads", type=int, choices=range(1, 65), default=2, metavar="N", help="workers on a CPU (2)")


def run(options: argparse.Namespace) -> int:
    """Make a model by a recipe: every stage, then its files. Under torchrun, on every process's device."""
    cv2.setNumThreads(1)
    chosen = recipe.load(options.recipe)
    listed = manifest.read(options.manifest)
    with placed(options.device, options.threads) as place, progress_bars() as bars:
        watch = watcher(bars) if place.first else Watcher()
        job = Job(chosen, listed, options.run, options.weights, options.teacher, place, watch)
        model = make(job, options.recipe, options.manifest)
        if place.first:
            console.print(f"wrote {model}")
    return 0


def watcher(bars: Progress) -> Watcher:
    """One bar for whatever is being done, and a line for every epoch."""
    task = bars.add_task("looking at the pictures", total=None)

    def epoch(stage: AnyStage, done: Epoch) -> None:
        dice = "" if done.dice != done.dice else f"  Dice {done.dice:.4f}"
        console.print(f"{stage.name} {done.epoch}/{stage.epochs}  loss {done.loss:.4f}{dice}  {done.seconds:.0f} s")

    return Watcher(
        console.print, epoch, lambda what, done, count: bars.update(task, description=what, completed=done, total=count)
    )
