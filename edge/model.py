"""A released model: a folder with `model.toml`, the ONNX files it names, and a card. Refused when a digest differs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edge.config import decode_toml
from edge.errors import ModelError
from edge.types import Manifest, Model, Precision


def load(folder: Path, precision: Precision = "int8") -> Model:
    """Raises ModelError: folder or file missing, manifest wrong, digest wrong."""
    toml = folder / "model.toml"
    if not toml.is_file():
        raise ModelError(f"{folder}: no model here: model.toml is missing")
    manifest = decode_toml(toml, Manifest, error=ModelError)
    entry = manifest.files.get(precision)
    if entry is None:
        raise ModelError(f"{toml}: files.{precision} is missing; the model has {', '.join(manifest.files)}")
    shape = manifest.input.shape
    if manifest.input.dtype != "uint8" or len(shape) != 4 or shape[0] != 1 or shape[3] != 4:
        raise ModelError(f"{toml}: input must be uint8 [1, height, width, 4], not {manifest.input.dtype} {list(shape)}")
    path = folder / entry.path
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ModelError(f"{path}: cannot be read: {exc.strerror}") from exc
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        raise ModelError(
            f"{path}: refused: its sha256 is {digest[:12]}…, but {toml.name} was released with {entry.sha256[:12]}…"
            f" ({len(content)} bytes; truncated or foreign file?)"
        )
    return Model(manifest=manifest, precision=precision, path=str(path), sha256=digest, content=content)
