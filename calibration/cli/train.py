"""endoedge-model train

On several devices: `torchrun --nproc-per-node N -m -- calibration train ...` (the dashes keep `--run` from torchrun).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import cv2
from rich.progress import Progress

from calibration import manifest, recipe
from calibration.cli import add_head, quantize
from calibration.cli.shared import console, progress_bars
from calibration.recipe import AnyStage, Recipe
from calibration.train import Epoch, Job, Watcher, placed
from calibration.train.folder import MANIFEST, MODEL
from calibration.train.whole import make


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--recipe", type=Path, required=True, help="TOML: stages, heads, quantisation (calibration/recipes/)")
    add("--manifest", type=Path, required=True, help="the pictures, as `manifest` lists them")
    add("--run", type=Path, required=True, help="folder of logs and model; a killed run goes on where it was")
    add(
        "--weights",
        type=Path,
        help="the encoder's given weights, for stages that start from them or keep their features",
    )
    add("--teacher", type=Path, help="transformer checkpoint folder, for stages that learn from it")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU where there is one")
    add("--threads", type=int, choices=range(1, 65), default=2, metavar="N", help="workers on a CPU (2)")


def run(options: argparse.Namespace) -> int:
    """Make a model by a recipe: train its stages, quantise, add its heads. Under torchrun, on every device."""
    cv2.setNumThreads(1)
    chosen = recipe.load(options.recipe)
    listed = manifest.read(options.manifest)
    with placed(options.device, options.threads) as place, progress_bars() as bars:
        watch = watcher(bars) if place.first else Watcher()
        job = Job(chosen, listed, options.run, options.weights, options.teacher, place, watch)
        make(job, options.recipe)
    if place.first:
        finish(chosen, options.manifest, options.run)
    return 0


def finish(made: Recipe, pictures: Path, folder: Path) -> None:
    """`quantize`, then `add-head` for each of the recipe's heads: what a person would type next."""
    model = folder / MODEL
    _command(
        quantize, model / "fp32.onnx", model, "--manifest", folder / MANIFEST,
        "--method", made.quantize.method, "--pictures", made.quantize.pictures,
    )  # fmt: skip
    development = ["--unshippable"] if made.development else []
    for name in made.heads.names:
        _command(
            add_head, model, "--head", name, "--manifest", pictures, "--views", made.heads.views,
            "--seed", made.seed, "--cache", folder / "features", *development,
        )  # fmt: skip
    description = f"calibration/releases/{made.release.description or 'NAME'}.toml"
    console.print(f"wrote {model}; next: eval {model} --json > FILE, then release {description} {model} --eval FILE")


def _command(module: ModuleType, *words: object) -> None:
    """Another command of this folder, as if it had been typed."""
    parser = argparse.ArgumentParser()
    module.arguments(parser)
    module.run(parser.parse_args([str(word) for word in words]))


def watcher(bars: Progress) -> Watcher:
    """One bar for whatever is being done, and a line for every epoch."""
    task = bars.add_task("looking at the pictures", total=None)

    def epoch(stage: AnyStage, done: Epoch) -> None:
        dice = "" if done.dice != done.dice else f"  Dice {done.dice:.4f}"
        console.print(f"{stage.name} {done.epoch}/{stage.epochs}  loss {done.loss:.4f}{dice}  {done.seconds:.0f} s")

    return Watcher(
        console.print, epoch, lambda what, done, count: bars.update(task, description=what, completed=done, total=count)
    )
