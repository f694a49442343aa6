"""What both trainings have in common: what they begin with, how they go on after a kill, and what they leave.

OUT/STAGE/begun.json        of which recipe, data and checkpoint it is: another one is refused
OUT/STAGE/checkpoint-N/     to go on from; only whole ones count (`whole.py`)
OUT/STAGE/adapter/          the result, with result.json: there only when it is whole
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback, set_seed

from edge.durable import sync_folder, write_atomically
from edge.types import Struct
from server.finetune import checkpoint, data, memory, whole
from server.finetune.config import Recipe, Stage
from server.finetune.errors import FinetuneError

BEGUN, ADAPTER, RESULT = "begun.json", "adapter", "result.json"
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate")
_KEPT = 2  # checkpoints: the newest may be torn
Make = Callable[[Recipe, Any, Any, Any, Any, dict[str, Any]], Any]
"""recipe, model, processor, samples, held samples, common arguments → a trainer of trl."""


class Begun(Struct, frozen=True, kw_only=True):
    """Two trainings that agree in this give the same weights on one machine."""

    checkpoint: str  # sha256 of the folder's
    data: str  # sha256 of the manifest's files
    seed: int
    precision: str
    device: str
    processes: int
    settings: dict[str, Any]
    libraries: dict[str, str]


def run(stage: Stage, recipe: Recipe, make: Make) -> Path:
    """The adapter's folder. Raises FinetuneError."""
    base, folder = recipe.base(stage), recipe.folder(stage)
    if stage == "dpo" and not base.is_dir():
        raise FinetuneError(f"{base}: no such folder; pairs come after `sft` and `merge sft`")
    looked = checkpoint.look(base)
    memory.require(looked, recipe)
    manifest = data.look(Path(recipe.data))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            begun = _begun(stage, recipe, looked.digest(), manifest.files)
            if _same(folder, begun) and (folder / ADAPTER).is_dir():
                return folder / ADAPTER
            processor = checkpoint.processor(base)
            samples, held = data.load(Path(recipe.data), stage, processor, recipe.tokens_most)
            set_seed(recipe.seed)
            net = checkpoint.model(base, torch.bfloat16 if recipe.precision == "bf16" else torch.float32)
            trainer = make(recipe, net, processor, samples, held, _arguments(stage, recipe, held is not None))
            return _trained(trainer, folder, begun)
    except OSError as exc:
        raise FinetuneError(f"{exc.filename or folder}: {exc.strerror}") from exc


def lora(recipe: Recipe) -> LoraConfig:
    return LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=checkpoint.TARGETS,
        task_type="CAUSAL_LM",
    )


def _arguments(stage: Stage, recipe: Recipe, held: bool) -> dict[str, Any]:
    """For trl's configuration of either training."""
    steps = recipe.steps(stage)
    return {
        "output_dir": str(recipe.folder(stage)),
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "use_cpu": recipe.device == "cpu",
        "bf16": recipe.precision == "bf16",
        "tf32": None,
        "num_train_epochs": steps.epochs,
        "learning_rate": steps.learning_rate,
        "warmup_steps": steps.warmup,  # a share when it is below 1
        "lr_scheduler_type": "cosine",
        "per_device_train_batch_size": steps.batch,
        "per_device_eval_batch_size": steps.batch,
        "gradient_accumulation_steps": steps.accumulate,
        "activation_checkpointing": recipe.recompute,
        "gradient_checkpointing": False,
        "max_length": None,  # longer ones were refused: cutting one would cut its pictures
        "save_strategy": "steps",
        "save_steps": steps.save_every,
        "save_total_limit": _KEPT,
        "eval_strategy": "steps" if held else "no",
        "eval_steps": steps.save_every,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "push_to_hub": False,
        "disable_tqdm": True,
    }


def _begun(stage: Stage, recipe: Recipe, digest: str, files: dict[str, str]) -> Begun:
    settings = {"lora": recipe.lora, "steps": recipe.steps(stage), "recompute": recipe.recompute}
    return Begun(
        checkpoint=digest,
        data=hashlib.sha256(msgspec.json.encode(files, order="sorted")).hexdigest(),
        seed=recipe.seed,
        precision=recipe.precision,
        device=recipe.device,
        processes=int(os.environ.get("WORLD_SIZE", "1")),
        settings=msgspec.to_builtins(settings),
        libraries={name: version(name) for name in LIBRARIES},
    )


def _same(folder: Path, begun: Begun) -> bool:
    """Whether there is a training of this kind. Raises FinetuneError for one of another. Of several processes the first
    one looks; when it refuses, their launcher ends the others."""
    if not _first():
        return True
    file = folder / BEGUN
    if not file.exists():
        if any(path.name != ".lock" for path in folder.iterdir()):
            raise FinetuneError(f"{folder}: is not empty, and what is in it is no training; name another `out`")
        write_atomically(file, msgspec.json.encode(begun))
        return False
    try:
        before = msgspec.json.decode(file.read_bytes(), type=Begun)
    except msgspec.DecodeError as exc:
        raise FinetuneError(f"{file}: {exc}") from exc
    if changed := [name for name in Begun.__struct_fields__ if getattr(before, name) != getattr(begun, name)]:
        values = ", ".join(changed)
        raise FinetuneError(f"{folder}: was begun with other values ({values}); remove it, or name another `out`")
    return True


def _trained(trainer: Any, folder: Path, begun: Begun) -> Path:
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(whole.Marks())
    trainer.add_callback(_Told())
    start = whole.last(folder) if _first() else None
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        told = [start]
        torch.distributed.broadcast_object_list(told)
        start = told[0]
    begun_at = folder / ".adapter.begun"
    if _first():
        shutil.rmtree(begun_at, ignore_errors=True)
    if start is not None and _first():
        print(f"goes on from {start.name}", flush=True)
    try:
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
    except torch.OutOfMemoryError as exc:
        raise FinetuneError(
            f"{folder}: the GPU's memory is full: smaller `batch` or `tokens_most`, or more GPUs"
        ) from exc
    trainer.save_model(str(begun_at))  # every process: under FSDP each has a part
    if _first():
        result = {
            "history": trainer.state.log_history,
            "steps": trainer.state.global_step,
            **msgspec.to_builtins(begun),
        }
        (begun_at / RESULT).write_text(json.dumps(result, indent=1))
        for needless in ("README.md", "training_args.bin"):  # with this machine's paths in them
            (begun_at / needless).unlink(missing_ok=True)
        whole.mark(begun_at)
        shutil.rmtree(folder / ADAPTER, ignore_errors=True)
        begun_at.replace(folder / ADAPTER)
        sync_folder(folder)
    return folder / ADAPTER


class _Told(TrainerCallback):  # type: ignore[misc]
    """A line a step."""

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, Any] | None = None, **_more: Any) -> None:
        told = {"loss": "loss", "eval_loss": "held", "rewards/margins": "margin", "eval_rewards/margins": "held margin"}
        said = [f"{name} {logs[key]:.4f}" for key, name in told.items() if key in (logs or {})] if logs else []
        if said and state.is_world_process_zero:
            print(f"step {state.global_step}/{state.max_steps}  {'  '.join(said)}", flush=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One training a folder: it is the first of its processes that holds the lock."""
    if not _first():
        yield
        return
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise FinetuneError(f"{folder}: another training is going on there") from exc
        yield


def _first() -> bool:
    return os.environ.get("RANK", "0") == "0"
