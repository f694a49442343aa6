"""Which of a training's checkpoints are whole. The library takes the newest there is, also one that was being written
when the power went; here a checkpoint counts when a mark says so, which is written last and says what must be in it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import TrainerCallback

from edge.durable import sync_folder, write_atomically
from edge.types import Struct

MARK = "whole.json"


class Mark(Struct, frozen=True, kw_only=True):
    files: dict[str, str]  # sha256 by name


def mark(folder: Path) -> None:
    """Everything in it is on the disk, and then it is said so."""
    files = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARK):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
        files[str(file.relative_to(folder))] = _sha256(file)
    sync_folder(folder)
    write_atomically(folder / MARK, msgspec.json.encode(Mark(files=files)))
    sync_folder(folder.parent)


def is_whole(folder: Path) -> bool:
    try:
        said = msgspec.json.decode((folder / MARK).read_bytes(), type=Mark)
        return all(_sha256(folder / name) == digest for name, digest in said.files.items())
    except (OSError, msgspec.DecodeError):
        return False


def last(folder: Path) -> Path | None:
    """The newest whole checkpoint. The torn ones are removed: a later save would go into what is left of them."""
    found = sorted(folder.glob("checkpoint-*"), key=_step, reverse=True)
    for torn in [path for path in found if not is_whole(path)]:
        shutil.rmtree(torn)
    return next((path for path in found if path.exists()), None)


class Marks(TrainerCallback):  # type: ignore[misc]
    """Marks each checkpoint when all processes have written their part."""

    def on_save(self, args: Any, state: Any, _control: Any, **_more: Any) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            mark(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def _step(folder: Path) -> int:
    found = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    return int(found[1]) if found else -1


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        digest = hashlib.sha256()
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
