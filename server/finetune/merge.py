"""An adapter and the checkpoint that it was trained on become a checkpoint folder like any other: vLLM and all others
serve it as it is, and the next training begins with it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from peft import PeftModel

from edge.durable import sync_folder
from server.finetune import checkpoint, whole
from server.finetune.config import Recipe, Stage
from server.finetune.errors import FinetuneError
from server.finetune.training import ADAPTER, RESULT


def merge(stage: Stage, recipe: Recipe) -> Path:
    """The new folder; nothing is done when it is there. Raises FinetuneError."""
    base, adapter, out = recipe.base(stage), recipe.folder(stage) / ADAPTER, recipe.merged(stage)
    if not whole.is_whole(adapter):
        raise FinetuneError(f"{adapter}: no whole adapter; `{stage}` comes first")
    try:
        made_from = json.loads((adapter / RESULT).read_text(encoding="utf-8"))["checkpoint"]
        if out.exists():
            return _checked(out, adapter)
        if checkpoint.look(base).digest() != made_from:
            raise FinetuneError(f"{base}: is not the checkpoint that {adapter} was trained on")
        begun = out.with_name(f".{out.name}.begun")
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir(parents=True)
        merged = PeftModel.from_pretrained(checkpoint.model(base), str(adapter)).merge_and_unload(safe_merge=True)
        merged.save_pretrained(begun)
        for file in base.iterdir():
            if file.is_file() and not (begun / file.name).exists() and not _weights(file):
                shutil.copyfile(file, begun / file.name)
        shutil.copyfile(adapter / RESULT, begun / f"{stage}-{RESULT}")
        whole.mark(begun)
        begun.replace(out)
        sync_folder(out.parent)
    except OSError as exc:
        raise FinetuneError(f"{exc.filename or out}: {exc.strerror}") from exc
    return out


def _checked(out: Path, adapter: Path) -> Path:
    """Raises FinetuneError for a folder that is none of this adapter's."""
    said = next(iter(out.glob(f"*-{RESULT}")), None)
    if not whole.is_whole(out) or said is None:
        raise FinetuneError(f"{out}: is there, and is no whole merged checkpoint; remove it, or name another `out`")
    theirs = [file for file in out.glob(f"*-{RESULT}") if file.read_bytes() == (adapter / RESULT).read_bytes()]
    if not theirs:
        raise FinetuneError(f"{out}: was merged from another adapter; remove it")
    return out


def _weights(file: Path) -> bool:
    return (
        file.suffix in (".safetensors", ".bin", ".gguf") or file.name.endswith(".index.json") or file.name == whole.MARK
    )
