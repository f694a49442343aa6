"""What is measured of a model, on what, and the command that measures it again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration import pictures
from calibration.evaluate import FALSE_AREA, Runner, false_share, mean_overlap, milliseconds
from edge.errors import UsageError

VIDEO_STEP = 5  # every fifth frame of a video: neighbours say the same
SPEED_THREADS = (1, 2)
FALSE = f"share of polyp-free pictures with ≥ {FALSE_AREA:.1%} marked"


@dataclass(frozen=True)
class Proof:
    """One measured figure of both files, and the command that prints it."""

    dataset: str
    metric: str
    fp32: float
    int8: float
    command: str


@dataclass(frozen=True)
class Subject:
    """Something to measure: its name for people, the arguments that ask for it, and how."""

    name: str
    arguments: str
    measure: Callable[[Path], dict[str, float]]  # ONNX file -> value by metric


def _named(text: str) -> tuple[str, Path]:
    """`NAME=PATH`; a bare PATH is named by its last two parts."""
    name, _, path = text.rpartition("=")
    return name or "/".join(Path(path).parts[-2:]), Path(path).absolute()


def _segmentation(text: str, root: Path) -> Subject:
    name, folder = _named(text)
    pairs = pictures.pairs(folder)

    def measure(model: Path) -> dict[str, float]:
        scores = mean_overlap(Runner(model), (pictures.read_pair(*pair) for pair in pairs))
        return {"mean Dice": scores.dice, "mean IoU": scores.iou}

    shown = f"{name} ({len(pairs)})"
    return Subject(shown, f'--data "{name}={folder.relative_to(root)}"', measure)


def _polyp_free(text: str, root: Path) -> Subject:
    name, path = _named(text)

    def measure(model: Path) -> dict[str, float]:
        share = false_share(Runner(model), pictures.frames_of(path, VIDEO_STEP))
        return {FALSE: share}

    return Subject(name, f'--polyp-free "{name}={path.relative_to(root)}"', measure)


def _phantom(text: str) -> Subject:
    try:
        seed, count = (int(part) for part in text.split(":"))
    except ValueError as exc:
        raise UsageError(f"--phantom {text}: expected SEED:COUNT, two whole numbers") from exc
    samples = list(pictures.phantom(seed, count, 256))
    bearing = [s for s in samples if s.mask.any()]
    free = [s.picture for s in samples if not s.mask.any()]
    if not bearing or not free:
        raise UsageError(f"--phantom {text}: too few pictures to have some with and some without polyps")

    def measure(model: Path) -> dict[str, float]:
        runner = Runner(model)
        return {
            "mean Dice where there are polyps": mean_overlap(runner, bearing).dice,
            FALSE: false_share(runner, free),
        }

    return Subject(f"phantom, unseen seed {seed} ({count})", f"--phantom {text}", measure)


def subjects(data: Sequence[str], polyp_free: Sequence[str], phantom: Sequence[str]) -> list[Subject]:
    """The command line's wishes, checked: a folder that is missing or empty is an error before anything runs.

    The commands name paths as seen from the folder that holds them all: where that lies is the machine's own business.
    """
    parents = [_named(text)[1].parent for text in (*data, *polyp_free)]
    root = Path(os.path.commonpath(parents)) if parents else Path()
    return [
        *(_segmentation(text, root) for text in data),
        *(_polyp_free(text, root) for text in polyp_free),
        *map(_phantom, phantom),
    ]


def measured(subject: Subject, fp32: Path, int8: Path, name: str) -> list[Proof]:
    """Both files on one subject."""
    command = f"python -m calibration evaluate models/{name} {subject.arguments}"
    of_fp32, of_int8 = subject.measure(fp32), subject.measure(int8)
    return [Proof(subject.name, metric, of_fp32[metric], of_int8[metric], command) for metric in of_fp32]


def speed(fp32: Path, int8: Path, name: str) -> list[Proof]:
    """Median time of one picture, both files in turns in this process."""
    command = f"python -m calibration evaluate models/{name} --speed"
    proofs = []
    for threads in SPEED_THREADS:
        taken = milliseconds({"fp32": Runner(fp32, threads), "int8": Runner(int8, threads)})
        metric = f"ms a picture, {threads} thread{'s' * (threads > 1)}"
        proofs.append(Proof("speed on the releasing machine", metric, taken["fp32"], taken["int8"], command))
    return proofs
