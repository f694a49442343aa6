"""Writing a released model's folder. Every figure in it comes from measurements just made, none is typed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import onnx
from onnx import TensorProto, ValueInfoProto

from calibration.prove import Proof
from edge import model
from edge.config import decode_toml
from edge.errors import ModelError
from edge.types import Struct

DTYPES = {TensorProto.UINT8: "uint8", TensorProto.FLOAT: "float32"}


class Description(Struct, frozen=True, kw_only=True):
    """`calibration/releases/NAME.toml`: what people say about a model, as opposed to what was measured."""

    version: str
    labels: list[str]
    licence: str
    training_data: list[str]
    title: str
    summary: str
    intended_use: str
    limits: list[str]
    made_by: list[str]  # the commands


def _tensor(value: ValueInfoProto) -> dict[str, object]:
    kind = value.type.tensor_type
    return {
        "name": value.name,
        "dtype": DTYPES[kind.elem_type],
        "shape": [d.dim_value for d in kind.shape.dim],
    }


def _lines(table: dict[str, object]) -> list[str]:
    """`key = value` lines; JSON's strings, numbers and lists are TOML's too."""
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]


def manifest(name: str, description: Description, files: dict[str, Path], proofs: Sequence[Proof]) -> str:
    """`model.toml`, with digests and tensors read from the files."""
    graph = onnx.load(str(files["int8"])).graph
    head = {"name": name} | {
        key: getattr(description, key) for key in ("version", "labels", "licence", "training_data")
    }
    lines = _lines(head)
    for precision, path in files.items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines += ["", f"[files.{precision}]", *_lines({"path": path.name, "sha256": digest})]
    lines += ["", "[input]", *_lines(_tensor(graph.input[0]))]
    for output in graph.output:
        lines += ["", "[[outputs]]", *_lines(_tensor(output))]
    for proof in proofs:
        rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(proof).items()}
        lines += ["", "[[measured]]", *_lines(rounded)]
    return "\n".join(lines) + "\n"


def card(name: str, description: Description, proofs: Sequence[Proof]) -> str:
    """The model card, Markdown."""
    rows = [f"| {p.dataset} | {p.metric} | {p.fp32:.4f} | {p.int8:.4f} |" for p in proofs]
    commands = dict.fromkeys(p.command for p in proofs)
    return "\n".join(
        [
            f"# {name}, version {description.version}",
            "",
            description.title,
            "",
            description.summary,
            "",
            "## Intended use",
            description.intended_use,
            "",
            "## Limits",
            *(f"- {limit}" for limit in description.limits),
            "",
            "## Measured",
            "| on | metric | FP32 | INT8 |",
            "|---|---|---|---|",
            *rows,
            "",
            "Printed by (folders relative to wherever the data lies):",
            "```",
            *commands,
            "```",
            "",
            "## Training data",
            *(f"- {source}" for source in description.training_data),
            "",
            "## Licence",
            description.licence,
            "",
            "## Made by",
            "```",
            *description.made_by,
            "```",
            "",
        ]
    )


def release(description: Path, fp32: Path, int8: Path, proofs: Sequence[Proof], models: Path) -> Path:
    """Write `models/NAME/` (NAME from the description's file) and load it back. Raises ModelError.

    The manifest goes last: a folder caught half replaced is refused by its digests rather than believed.
    """
    words = decode_toml(description, Description, error=ModelError)
    folder = models / description.stem
    folder.mkdir(parents=True, exist_ok=True)
    files = {"int8": folder / "int8.onnx", "fp32": folder / "fp32.onnx"}
    for source, target in ((int8, files["int8"]), (fp32, files["fp32"])):
        if source.resolve() != target.resolve():
            shutil.copyfile(source, target)
    (folder / "MODEL_CARD.md").write_text(card(description.stem, words, proofs), encoding="utf-8")
    (folder / "model.toml").write_text(manifest(description.stem, words, files, proofs), encoding="utf-8")
    for precision in files:
        model.load(folder, precision)
    return folder
