"""What the command line asked for, and the nets a run's folder holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from calibration import encoders
from calibration.manifest import Manifest
from calibration.recipe import FOLDER, WEIGHTS, AnyStage, DistilEncoder, Recipe
from calibration.student import Student, widths_of
from calibration.train.distribute import Place
from calibration.train.folder import CHECKPOINT, Epoch, read_checkpoint
from edge.errors import ModelError


@dataclass(frozen=True)
class Watcher:
    """Who is told how it goes: a line to keep, an epoch that ended, and what is being done now (done, of how many)."""

    say: Callable[[str], None] = lambda _line: None
    epoch: Callable[[AnyStage, Epoch], None] = lambda _stage, _epoch: None
    progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None


@dataclass(frozen=True)
class Job:
    """One `endoedge-model train`: the recipe, where its pictures are listed, and where the run goes."""

    recipe: Recipe
    manifest: Manifest
    folder: Path
    weights: Path | None  # what stages of `start = "weights"` start from
    teacher: Path | None  # what stages of `teacher = "folder"` learn from
    place: Place
    watch: Watcher

    def stage_folder(self, name: str) -> Path:
        return self.folder / name

    def checkpoint(self, name: str) -> Path:
        return self.stage_folder(name) / CHECKPOINT

    def identity(self, stage: AnyStage, data: str) -> dict[str, Any]:
        """What must be the same for a checkpoint to be gone on with: the stage's words and its pictures."""
        return {
            "stage": msgspec.to_builtins(stage),
            "encoder": self.recipe.encoder_of(stage),
            "kept_side": self.recipe.data.kept_side,
            "data": data,
        }

    def ancestry(self, stage: AnyStage) -> dict[str, str]:
        """sha256 of every file the stage starts or learns from; a folder is known by its name."""
        if isinstance(stage, DistilEncoder):
            names = [stage.teacher]
        else:
            names = [name for name in (stage.start, *stage.teachers, stage.features_of) if name]
        given = {WEIGHTS: self.weights, FOLDER: self.teacher}
        files = {name: given[name] if name in given else self.checkpoint(name) for name in names}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else str(path or "")
            for name, path in files.items()
        }


def trained(path: Path) -> Student:
    """The averaged student out of a stage's checkpoint, in eval mode. Raises DatasetError, ModelError."""
    state = read_checkpoint(path)
    encoder, average = state.get("identity", {}).get("encoder", "mobilenetv2"), state["average"]
    try:
        student = Student(encoders.open(encoder), widths_of(average))
        student.load_state_dict(average)
    except (KeyError, RuntimeError) as exc:
        raise ModelError(f"{path}: its tensors are not those of a student with encoder {encoder}") from exc
    return student.eval()
