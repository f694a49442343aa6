"""A released model: a folder with `model.toml`, the ONNX files it names, and a card. Refused when anything disagrees.

What the manifest says of itself is checked here, what it says of the file's tensors by the backend that opens the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge.config import decode_toml
from edge.errors import ModelError
from edge.types import Manifest, Model, ModelHead, Precision

# By a head's kind: the axes of its output, and how many channels it has less than labels.
FORM = {"segment": (4, 0), "dense": (4, 0), "classify": (2, 0), "ordinal": (2, 1)}


def load(folder: Path, precision: Precision = "int8") -> Model:
    """Raises ModelError: folder or file missing, manifest wrong or at odds with itself, digest wrong."""
    toml = folder / "model.toml"
    if not toml.is_file():
        raise ModelError(f"{folder}: no model here: model.toml is missing")
    manifest = decode_toml(toml, Manifest, error=ModelError)
    for fault in faults(manifest):
        raise ModelError(f"{toml}: {fault}")
    entry = manifest.files.get(precision)
    if entry is None:
        raise ModelError(f"{toml}: files.{precision} is missing; the model has {', '.join(manifest.files)}")
    content = released(folder, entry.path, entry.sha256)
    return Model(
        manifest=manifest, precision=precision, path=str(folder / entry.path), sha256=entry.sha256, content=content
    )


def released(folder: Path, name: str, sha256: str) -> bytes:
    """The content of one of the folder's files. Raises ModelError when it is not the one that was released."""
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ModelError(f"{path}: cannot be read: {exc.strerror}") from exc
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ModelError(
            f"{path}: refused: its sha256 is {digest[:12]}…, but model.toml was released with {sha256[:12]}…"
            f" ({len(content)} bytes; truncated or foreign file?)"
        )
    return content


def faults(manifest: Manifest) -> Iterator[str]:
    """What a manifest says that cannot be, each with its key."""
    wanted = manifest.input
    if wanted.dtype != "uint8" or len(wanted.shape) != 4 or wanted.shape[0] != 1 or wanted.shape[3] != 4:
        yield f"input must be uint8 [1, height, width, 4], not {wanted.dtype} {list(wanted.shape)}"
    outputs = {output.name: output.shape for output in manifest.outputs}
    for key, names in (
        ("outputs", [output.name for output in manifest.outputs]),
        ("heads", [head.name for head in manifest.heads]),
    ):
        for name in _repeated(names):
            yield f"{key}: two are named {name!r}"
    for place, head in enumerate(manifest.heads):
        for fault in _head_faults(head, outputs):
            yield f"heads[{place}] ({head.name}): {fault}"
    found = [label for head in manifest.heads if head.kind == "segment" for label in head.labels]
    if manifest.labels != found:
        yield f"labels is {manifest.labels}, but the segment heads' labels are {found}"
    for name in sorted(outputs.keys() ^ manifest.golden.tolerance.keys()):
        yield f"golden.tolerance.{name} {'is missing' if name in outputs else 'is of no output of the model'}"
    for name, tolerances in manifest.golden.tolerance.items():
        for precision in sorted(manifest.files.keys() - tolerances.keys()):
            yield f"golden.tolerance.{name}.{precision} is missing"


def _head_faults(head: ModelHead, outputs: dict[str, tuple[int, ...]]) -> Iterator[str]:
    for label in _repeated(head.labels):
        yield f"labels has {label!r} twice"
    shape = outputs.get(head.output)
    axes, less = FORM[head.kind]
    if shape is None:
        yield f"output {head.output!r} is missing; the model's outputs are: {', '.join(outputs) or 'none'}"
    elif len(shape) != axes:
        yield f"a {head.kind} head needs an output of {axes} axes, {head.output!r} is {list(shape)}"
    elif shape[1] != len(head.labels) - less:
        wanted = f"{len(head.labels)} names, so output {head.output!r} should have {len(head.labels) - less} channels"
        yield f"labels has {wanted}; it has {shape[1]}"


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
