"""A Qwen3-VL checkpoint folder, as its makers publish it: looked at before it is loaded, and loaded from disk alone."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration, Qwen3VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin

from server.finetune.errors import FinetuneError

FAMILY = "qwen3_vl"
NEEDED = ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json")
_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_PATTERN = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
TARGETS = _PATTERN
"""What LoRA is put on, as peft takes it."""
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1}


@dataclass(frozen=True)
class Checkpoint:
    """What can be said of a folder without loading it."""

    folder: Path
    shapes: dict[str, tuple[int, ...]]  # of every tensor

    @property
    def parameters(self) -> int:
        return sum(_product(shape) for shape in self.shapes.values())

    def digest(self) -> str:
        """sha256 of weights and settings: seconds a gigabyte."""
        digest = hashlib.sha256()
        for file in sorted(
            path for path in self.folder.iterdir() if path.suffix in (".json", ".safetensors", ".jinja")
        ):
            digest.update(f"{file.name} {file.stat().st_size} ".encode())
            with file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


def look(folder: Path) -> Checkpoint:
    """Raises FinetuneError that names the folder or the file."""
    config = _json(folder / "config.json")
    if config.get("model_type") != FAMILY:
        raise FinetuneError(f"{folder / 'config.json'}: model_type {config.get('model_type')!r}, expected {FAMILY!r}")
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise FinetuneError(f"{folder}: {', '.join(missing)} missing, expected a whole {FAMILY} checkpoint folder")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FinetuneError(f"{folder}: no weights in it (looked for *.safetensors)")
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        shapes |= _header(file)
    index = folder / "model.safetensors.index.json"
    if index.is_file() and (absent := sorted(set(_json(index).get("weight_map", {})) - set(shapes))):
        raise FinetuneError(f"{folder}: {len(absent)} tensors of {index.name} are in no file, first {absent[0]}")
    return Checkpoint(folder, shapes)


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes, from the file's head. What it says must be in it."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > min(size, 100 << 20):
                raise ValueError("its header is longer than the file")
            tensors = {name: one for name, one in json.loads(opened.read(length)).items() if name != "__metadata__"}
        end = 8 + length + max((one["data_offsets"][1] for one in tensors.values()), default=0)
        if end != size:
            raise ValueError(f"{size} bytes, expected {end}")
        return {name: tuple(one["shape"]) for name, one in tensors.items()}
    except (OSError, ValueError, KeyError, TypeError, struct.error) as exc:
        raise FinetuneError(f"{file}: no whole safetensors file: {exc}") from exc


class StillProcessor(Qwen3VLProcessor):  # type: ignore[misc]
    """Qwen3-VL's processor for text and pictures. The library's own also wants its processor of films, and that one
    torchvision, which nothing here needs."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        number = tokenizer.convert_tokens_to_ids
        for name in ("image", "video", "vision_start", "vision_end"):
            token = f"<|{name}_pad|>" if name in ("image", "video") else f"<|{name}|>"
            setattr(self, f"{name}_token", token)
            setattr(self, f"{name}_token_id", number(token))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def processor(folder: Path) -> Any:
    """Raises FinetuneError."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        pictures = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
    except Exception as exc:  # a dozen kinds, from OSError to the tokenizer's own
        raise FinetuneError(f"{folder}: its processor cannot be loaded: {exc}") from exc
    template = tokenizer.chat_template
    if template is None and (folder / "chat_template.json").is_file():
        template = _json(folder / "chat_template.json").get("chat_template")
    if not template:
        raise FinetuneError(f"{folder}: no chat template (looked for {', '.join(_TEMPLATES)})")
    made = StillProcessor(pictures, tokenizer, chat_template=template)
    unknown = [
        name
        for name in ("image", "vision_start")
        if getattr(made, f"{name}_token_id") in (None, tokenizer.unk_token_id)
    ]
    if unknown:
        raise FinetuneError(f"{folder}: its tokenizer has no token for {', '.join(unknown)}")
    return made


def model(folder: Path, dtype: torch.dtype | None = None) -> Any:
    """`dtype`: None is the folder's own. Raises FinetuneError, also when a tensor is missing, which the library would
    fill with random numbers."""
    try:
        net, report = Qwen3VLForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, dtype="auto" if dtype is None else dtype, output_loading_info=True
        )
    except Exception as exc:  # a dozen kinds, from OSError to the weight file reader's own
        raise FinetuneError(f"{folder}: cannot be loaded: {exc}") from exc
    wrong = [*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])]
    if wrong:
        raise FinetuneError(f"{folder}: {len(wrong)} tensors are missing or of another shape, first {sorted(wrong)[0]}")
    return net


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise FinetuneError(f"{file}: no such file, expected a {FAMILY} checkpoint folder") from exc
    except (OSError, ValueError) as exc:
        raise FinetuneError(f"{file}: cannot be read as JSON: {exc}") from exc
    if not isinstance(content, dict):
        raise FinetuneError(f"{file}: expected a JSON object")
    return content


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product
