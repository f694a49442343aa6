"""An export's samples as trl takes them. Everything is looked at before the first step: a training that ends after
hours because of one sample is a waste.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, Image, List
from PIL import Image as Pictures

from server.finetune.config import Stage
from server.finetune.errors import FinetuneError
from server.learn.case import LearnError
from server.learn.export import Manifest, check

COLUMNS: dict[Stage, tuple[str, ...]] = {"sft": ("completion",), "dpo": ("chosen", "rejected")}


def look(folder: Path) -> Manifest:
    """Raises FinetuneError."""
    try:
        return check(folder)
    except LearnError as exc:
        raise FinetuneError(str(exc)) from exc


def load(folder: Path, stage: Stage, processor: Any, tokens_most: int) -> tuple[Any, Any]:
    """To train on, and held apart (None where there is none). Raises FinetuneError that names the line."""
    train, held = (_rows(folder, f"{stage}{part}.jsonl", stage, processor, tokens_most) for part in ("", ".held"))
    if not train:
        what = "pair: no draft of these was changed" if stage == "dpo" else "sample"
        raise FinetuneError(f"{folder / f'{stage}.jsonl'}: not a single {what}")
    return _dataset(train), _dataset(held) if held else None


def _dataset(rows: list[dict[str, Any]]) -> Any:
    """In memory but for the pictures, which are opened when their turn comes."""
    return Dataset.from_list(rows).cast_column("images", List(Image()))


def _rows(folder: Path, name: str, stage: Stage, processor: Any, tokens_most: int) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate((folder / name).read_bytes().splitlines(), 1):
        where = f"{folder / name}: line {number}"
        try:
            row = {key: value for key, value in json.loads(line).items() if key != "id"}
            texts = list(_texts(row, stage))
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise FinetuneError(f"{where}: expected a sample of `learn export`: {exc!r}") from exc
        row["images"] = [str(folder / image) for image in row["images"]]
        _refuse_special(where, texts, processor)
        tokens = _length(row, stage, processor)
        if tokens > tokens_most:
            raise FinetuneError(f"{where}: {tokens} tokens, expected at most `tokens_most` = {tokens_most}")
        rows.append(row)
    return rows


def _texts(row: dict[str, Any], stage: Stage) -> Iterator[str]:
    for column in ("prompt", *COLUMNS[stage]):
        for message in row[column]:
            yield from (part["text"] for part in message["content"] if part["type"] == "text")


def _refuse_special(where: str, texts: list[str], processor: Any) -> None:
    """A text that holds `<|im_end|>` would end the message there."""
    special = processor.tokenizer.all_special_tokens
    for token in special:
        if any(token in text for text in texts):
            raise FinetuneError(f"{where}: holds {token}, which is a sign of the model's own")


def _length(row: dict[str, Any], stage: Stage, processor: Any) -> int:
    """Tokens of the longer of a pair, pictures included."""
    prompt = processor.apply_chat_template([row["prompt"]], add_generation_prompt=True, tokenize=False)[0]
    sizes = []
    for name in row["images"]:
        with Pictures.open(name) as picture:
            sizes.append((picture.height, picture.width))
    seen = sum(processor._get_num_multimodal_tokens(image_sizes=sizes).num_image_tokens) if sizes else 0
    said = max(len(_tokens("".join(_said(row[column])), processor)) for column in COLUMNS[stage])
    return len(_tokens(prompt, processor)) + seen + said + 2  # the turn's end


def _said(messages: list[dict[str, Any]]) -> list[str]:
    return [part["text"] for message in messages for part in message["content"]]


def _tokens(text: str, processor: Any) -> list[int]:
    ids: list[int] = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
