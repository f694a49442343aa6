"""A run's folder: what it was made of and by, and each stage's checkpoint, log and curves. The first process writes.

RUN/recipe.toml           the recipe, as it was read
RUN/run.json              revision, versions, device, digests of manifest and weights, seconds of every stage
RUN/STAGE/checkpoint.pt   replaced in one step after every epoch
RUN/STAGE/log.jsonl       one Epoch a line;  RUN/STAGE/curves.svg draws it
RUN/calibrate.jsonl       the manifest of the training pictures that calibrated it
RUN/model/                the finished model's files
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from calibration.pictures import DatasetError

CHECKPOINT, LOG, CURVES = "checkpoint.pt", "log.jsonl", "curves.svg"
RECIPE, RUN, MANIFEST, MODEL = "recipe.toml", "run.json", "calibrate.jsonl", "model"
PACKAGES = ("torch", "numpy", "opencv-python-headless", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to. `dice` is of the averaged weights on the held-out pictures; NaN where none are scored."""

    epoch: int
    loss: float
    dice: float
    seconds: float


def replace(path: Path, text: str) -> None:
    """Write a text file in one step: a kill leaves the old one or the new one."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


class StageFolder:
    """One stage's folder. `identity`: what must be the same for its checkpoint to be gone on with."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path, self.identity = path, identity

    def checkpoint(self) -> dict[str, Any] | None:
        """The checkpoint's state, or None where none was written yet. Raises DatasetError for another recipe's."""
        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        state: dict[str, Any] = read_checkpoint(path)
        theirs = state.get("identity", {})
        for key, value in self.identity.items():
            if theirs.get(key) != value:
                raise DatasetError(f"{self.path}: holds a run of another recipe or other data ({key} differs)")
        return state

    def finished(self, epochs: int) -> float | None:
        """The seconds that all epochs took, or None where some are still to come."""
        state = self.checkpoint()
        if state is None or len(state["log"]) < epochs:
            return None
        return float(sum(epoch["seconds"] for epoch in state["log"]))

    def save(self, state: dict[str, Any], epochs: Sequence[Epoch]) -> None:
        """Replace the checkpoint; then log and curves, which are made of it and may be a moment older."""
        self.path.mkdir(parents=True, exist_ok=True)
        fresh = self.path / (CHECKPOINT + ".new")
        torch.save({**state, "identity": self.identity, "log": [asdict(e) for e in epochs]}, fresh)
        fresh.replace(self.path / CHECKPOINT)
        self.write_log(epochs)

    def write_log(self, epochs: Sequence[Epoch]) -> None:
        replace(self.path / LOG, "".join(json.dumps(asdict(epoch)) + "\n" for epoch in epochs))
        replace(self.path / CURVES, curves(epochs))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's tensors and words. Raises DatasetError for anything that is not one."""
    if not path.is_file():
        raise DatasetError(f"{path}: no such checkpoint (train first)")
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as exc:  # torch.load raises half a dozen kinds, without a common parent
        raise DatasetError(f"{path}: cannot be read as a checkpoint: {exc}") from exc
    if not isinstance(state, dict) or "average" not in state:
        raise DatasetError(f"{path}: is not a checkpoint of a training run")
    return state


# ---------------------------------------------------------------------------------------------- curves

WIDTH, HEIGHT, MARGIN = 480, 240, 40
COLOURS = {"loss": "#b5402a", "dice": "#2a6fb5"}


def _line(values: Sequence[float], name: str, row: int) -> str:
    """One curve, scaled to its own range, with that range in words."""
    points = [(index, value) for index, value in enumerate(values) if value == value]
    if not points:
        return ""
    low, high = min(v for _, v in points), max(v for _, v in points)
    across, up = (WIDTH - 2 * MARGIN) / max(len(values) - 1, 1), (HEIGHT - 2 * MARGIN) / ((high - low) or 1)
    path = " ".join(f"{MARGIN + i * across:.1f},{HEIGHT - MARGIN - (v - low) * up:.1f}" for i, v in points)
    words = f"{name} {low:.4f} to {high:.4f}, last {points[-1][1]:.4f}"
    return (
        f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>'
        f'<text x="{MARGIN}" y="{16 * (row + 1)}" fill="{COLOURS[name]}">{words}</text>'
    )


def curves(epochs: Sequence[Epoch]) -> str:
    """Loss and held-out Dice over the epochs, an SVG."""
    seconds = sum(epoch.seconds for epoch in epochs)
    lines = [_line([getattr(e, name) for e in epochs], name, row) for row, name in enumerate(COLOURS)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(lines)}'
        f'<text x="{MARGIN}" y="{HEIGHT - 12}">{len(epochs)} epochs, {seconds:.0f} s</text></svg>\n'
    )


# --------------------------------------------------------------------------------------------- made by


def revision() -> str:
    """The git revision of this code, "+changes" where files differ from it; "unknown" outside a repository."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", str(here.parent)) else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}}
