#!/usr/bin/env python3
"""What each idea did for another hospital's pictures: the table in calibration/README.md, from one run's checkpoints.

tools/ideas.py RUN --dataset kvasir_seg PATH --dataset cvc_clinicdb PATH [--stages base-3,refined] [--json]

Every stage's net as it is, then the last one with what may be done at test time: flips, a larger input, colour
constancy. FP32, mean Dice at 352 x 352 px of the held-out pictures. Pictures that are trained on only lend their mean
colour to the last of these. Needs the `calibration` extra.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from rich.table import Table  # noqa: E402
from torch.nn.functional import interpolate  # noqa: E402

from calibration import datasets  # noqa: E402
from calibration.pictures import Sample, squashed  # noqa: E402
from calibration.student import Student, normalised  # noqa: E402
from calibration.train import trained  # noqa: E402
from edge.errors import EdgeError, UsageError  # noqa: E402

SIDE = 352  # px, where Dice is taken
STRIDE = 32  # px: sides of the nets' input are multiples of it
LIT = 20  # brightest channel: darker pixels say nothing about colour
FLIPS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))
LENDERS = 200  # training pictures that the mean colour comes from

Rgb = npt.NDArray[np.uint8]
Recolour = Callable[[Rgb], Rgb]


class Idea(NamedTuple):
    name: str
    nets: Sequence[Student]
    side: int
    flips: bool = False
    recolour: Recolour | None = None


def mean_colour(picture: Rgb) -> npt.NDArray[np.float64]:
    """Of its lit pixels, RGB."""
    pixels = picture.reshape(-1, 3)
    lit = pixels[pixels.max(axis=1) > LIT]
    return np.asarray(lit.mean(axis=0) if len(lit) else np.full(3, 128.0))


def grey_world(picture: Rgb) -> Rgb:
    mean = mean_colour(picture)
    return np.asarray(np.clip(picture * (mean.mean() / mean), 0, 255), np.uint8)


def towards(target: npt.NDArray[np.float64]) -> Recolour:
    return lambda picture: np.clip(picture * (target / mean_colour(picture)), 0, 255).astype(np.uint8)


@torch.no_grad()
def probability(idea: Idea, picture: Rgb) -> npt.NDArray[np.float32]:
    """Of a polyp, (SIDE, SIDE)."""
    if idea.recolour is not None:
        picture = idea.recolour(picture)
    scaled = cv2.resize(picture, (idea.side, idea.side), interpolation=cv2.INTER_AREA)
    x = normalised(torch.from_numpy(scaled).permute(2, 0, 1)[None])
    views = []
    for net in idea.nets:
        for axes in FLIPS if idea.flips else FLIPS[:1]:
            logits = net(x.flip(axes) if axes else x)
            logits = logits.flip(axes) if axes else logits
            views.append(interpolate(logits, (SIDE, SIDE), mode="bilinear").sigmoid())
    return np.asarray(torch.stack(views).mean(dim=0)[0, 0].numpy())


def dice(idea: Idea, samples: Sequence[Sample]) -> float:
    shares = []
    for sample in samples:
        found, true = probability(idea, sample.picture) > 0.5, sample.mask > 0
        shares.append(2 * (found & true).sum() / max(1, found.sum() + true.sum()))
    return float(np.mean(shares))


def held_out(layout: str, folder: Path) -> list[Sample]:
    entries = [entry for entry in datasets.scan(layout, folder) if entry.split != "train"]
    if not entries:
        raise UsageError(f"--dataset {layout} {folder}: no held-out picture")
    return [squashed(datasets.load(entry, folder), SIDE) for entry in entries]


def training_colour(sources: Sequence[tuple[str, Path]]) -> npt.NDArray[np.float64] | None:
    """The mean colour of pictures that are trained on; None where there are none."""
    for layout, folder in sources:
        entries = [entry for entry in datasets.scan(layout, folder) if entry.split == "train"][:LENDERS]
        if entries:
            return np.asarray(np.mean([mean_colour(datasets.load(entry, folder).picture) for entry in entries], axis=0))
    return None


def ideas(nets: dict[str, Student], side: int, colour: npt.NDArray[np.float64] | None) -> Iterator[Idea]:
    for name, net in nets.items():
        yield Idea(f"stage {name}", [net], side)
    name, net = list(nets.items())[-1]
    yield Idea(f"{name}, mean over four flips", [net], side, flips=True)
    larger = -(-side * 5 // 4 // STRIDE) * STRIDE
    yield Idea(f"{name}, larger input: {larger} px", [net], larger)
    yield Idea(f"{name}, grey world (colour constancy)", [net], side, recolour=grey_world)
    if colour is not None:
        yield Idea(f"{name}, brought to training's mean colour", [net], side, recolour=towards(colour))
    if len(nets) > 1:
        yield Idea("mean of all these nets", list(nets.values()), side)


def load_nets(run: Path, wanted: Sequence[str]) -> dict[str, Student]:
    """In the recipe's order. Raises UsageError."""
    order = json.loads((run / "run.json").read_text())["stages"] if (run / "run.json").is_file() else {}
    there = [name for name in order if (run / name / "checkpoint.pt").is_file()]
    unknown = [name for name in wanted if name not in there]
    if unknown or not there:
        raise UsageError(
            f"{run}: no finished stage {', '.join(unknown) or 'at all'}; it has: {', '.join(there) or 'none'}"
        )
    return {name: trained(run / name / "checkpoint.pt").eval() for name in wanted or there}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder that `train` wrote")
    parser.add_argument("--dataset", nargs=2, action="append", required=True, metavar=("LAYOUT", "PATH"))
    parser.add_argument("--stages", default="", help="comma-separated; all finished ones")
    parser.add_argument("--side", type=int, default=256, help="of the nets' input, px (256)")
    parser.add_argument("--json", action="store_true", help="one JSON object an idea")
    options = parser.parse_args()
    console = Console(stderr=options.json)
    sources = [(layout, Path(path)) for layout, path in options.dataset]
    try:
        nets = load_nets(options.run, [name for name in options.stages.split(",") if name])
        sets = {layout: held_out(layout, folder) for layout, folder in sources}
        todo = list(ideas(nets, options.side, training_colour(sources)))
    except EdgeError as exc:
        print(f"ideas: {exc}", file=sys.stderr)
        return exc.exit_code
    rows: list[dict[str, Any]] = []
    for idea in track(todo, "", console=console, transient=True):
        rows.append({"idea": idea.name} | {name: round(dice(idea, samples), 4) for name, samples in sets.items()})
        if options.json:
            print(json.dumps(rows[-1]), flush=True)
    if not options.json:
        table = Table("idea", *(f"{name} ({len(samples)})" for name, samples in sets.items()))
        for row in rows:
            table.add_row(row["idea"], *(f"{row[name]:.3f}" for name in sets))
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
