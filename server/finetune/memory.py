"""Is the machine large enough? What is surely needed is compared with what is free; activations come on top."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from server.finetune.checkpoint import TARGETS, Checkpoint
from server.finetune.config import Recipe
from server.finetune.errors import FinetuneError

GIB = 1 << 30
_LEARNT = 16  # bytes a parameter that is learnt: itself, its gradient, and Adam's two averages, in fp32


def learnt(checkpoint: Checkpoint, rank: int) -> int:
    """Parameters that LoRA adds."""
    layers = [
        shape
        for name, shape in checkpoint.shapes.items()
        if len(shape) == 2 and re.fullmatch(TARGETS + r"\.weight", name)
    ]
    return sum(rank * (rows + columns) for rows, columns in layers)


def least(checkpoint: Checkpoint, recipe: Recipe, shared_by: int = 1) -> int:
    """Bytes that one process needs before the first sample. `shared_by`: processes that hold the weights together."""
    width = 2 if recipe.precision == "bf16" else 4
    return (checkpoint.parameters * width + learnt(checkpoint, recipe.lora.rank) * _LEARNT) // shared_by


def told(checkpoint: Checkpoint, recipe: Recipe) -> str:
    """For a person."""
    trained = learnt(checkpoint, recipe.lora.rank) / 1e6
    return (
        f"{checkpoint.parameters / 1e6:.1f} million parameters, {trained:.2f} million are learnt: "
        f"at least {least(checkpoint, recipe) / GIB:.1f} GiB, and activations on top"
    )


def require(checkpoint: Checkpoint, recipe: Recipe) -> None:
    """Raises FinetuneError."""
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise FinetuneError('no GPU that CUDA can use; `device = "cpu"` trains without one, slowly')
    needed, free = least(checkpoint, recipe, _sharers()), available(recipe.device)
    if needed > free:
        raise FinetuneError(
            f"{checkpoint.folder}: training it needs at least {needed / GIB:.1f} GiB, {free / GIB:.1f} GiB are free on "
            f"{'the GPU' if recipe.device == 'cuda' else 'this machine'}"
        )


def available(device: str) -> int:
    """Bytes that are free for this process."""
    if device == "cuda":
        free: int = torch.cuda.mem_get_info()[0]
        return free
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) << 10
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        free = min(free, int(text))
    return free


def _sharers() -> int:
    return int(os.environ.get("WORLD_SIZE", "1")) if os.environ.get("ACCELERATE_USE_FSDP") == "true" else 1
