"""What a release is made from: the folder that `train`, `add-head` and `quantize` filled, read and checked.

*.onnx            the files of calibration.encodings, same inputs and outputs
heads/NAME.json   what `add-head` says of every head it fused
quantize.json     what `quantize` says of ranges, layers left in float, and its own check
run.json          (or in the folder above) what `train` says of recipe, revision, data and time
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import onnx
from onnx import TensorProto, ValueInfoProto

from calibration import fuse
from calibration.encodings import FILES, REFERENCE
from edge.errors import ModelError
from edge.types import ModelHead, Precision, TensorSpec

DTYPES: dict[int, str] = {TensorProto.UINT8: "uint8", TensorProto.FLOAT: "float32"}
REPORT, RUN = "quantize.json", "run.json"

T = TypeVar("T")


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that `quantize` left in float."""

    layer: str
    reason: str
    measured: float


class TensorRT(msgspec.Struct, frozen=True, kw_only=True):
    """How the file for TensorRT will be run there, by TensorRT's rules."""

    int8_convolutions: int
    float_convolutions: dict[str, str]  # and why
    violations: list[str]


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Of the two INT8 files on calibration pictures, in steps of the output's grid."""

    within_one_step: float
    largest_steps: float
    dice: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """`quantize.json`: what is needed of it here."""

    method: str
    pictures: int
    left_in_float: list[Left]
    tensorrt: TensorRT
    agreement: Agreement


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    seconds: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """`run.json`: what is needed of it here."""

    recipe: str
    development: bool
    revision: str
    device: str
    versions: dict[str, str]
    sha256: dict[str, str]  # of the manifest and the given weights
    stages: dict[str, Stage]
    seconds: float


@dataclass(frozen=True)
class Build:
    """A build folder's content. `outputs` are those of all files, `records` those of its trained heads."""

    folder: Path
    files: Mapping[Precision, bytes]
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    records: tuple[fuse.Record, ...]
    calibration: Calibration
    run: Run


def read(folder: Path) -> Build:
    """Raises ModelError: something is missing, unreadable, or the files are not one model."""
    files = {precision: _content(folder / name) for precision, name in FILES.items()}
    tensors = {p: _tensors(folder / FILES[p], content) for p, content in files.items()}
    wanted = tensors["fp32"]
    for precision, found in tensors.items():
        if found != wanted:
            raise ModelError(f"{folder / FILES[precision]}: {_odd(found, wanted)}")
    return Build(
        folder=folder,
        files=files,
        input=wanted[0],
        outputs=wanted[1:],
        records=tuple(fuse.records(folder)),
        calibration=_json(folder / REPORT, Calibration),
        run=_json(folder / RUN if (folder / RUN).is_file() else folder.parent / RUN, Run),
    )


def head_of(record: fuse.Record) -> ModelHead:
    """What `add-head` said of a head, as a manifest says it."""
    return ModelHead(name=record.name, output=record.output, kind=record.kind, labels=list(record.labels))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ModelError(f"{path}: cannot be read: {exc.strerror}") from exc


def _json(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(_content(path), type=kind)
    except msgspec.DecodeError as exc:
        raise ModelError(f"{path}: {exc}") from exc


def _tensors(path: Path, content: bytes) -> tuple[TensorSpec, ...]:
    """The file's input, then its outputs in their order."""
    try:
        graph = onnx.load_model_from_string(content).graph
    except Exception as exc:  # protobuf's own kinds, of a library that is onnx's business
        raise ModelError(f"{path}: is no ONNX file: {exc}") from exc
    if len(graph.input) != 1 or not graph.output:
        raise ModelError(f"{path}: has {len(graph.input)} inputs and {len(graph.output)} outputs, expected 1 and some")
    return tuple(_spec(value) for value in (*graph.input, *graph.output))


def _spec(value: ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(axis.dim_value for axis in tensor.shape.dim)
    return TensorSpec(name=value.name, dtype=DTYPES.get(tensor.elem_type, "another type"), shape=shape)


def _odd(found: tuple[TensorSpec, ...], wanted: tuple[TensorSpec, ...]) -> str:
    """The first tensor in which a file differs from REFERENCE."""
    for mine, reference in zip(found, wanted, strict=False):
        if mine != reference:
            return f"tensor {_said(mine)}, but {REFERENCE} has {_said(reference)}"
    return f"has {len(found) - 1} outputs, but {REFERENCE} has {len(wanted) - 1}"


def _said(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype} {list(tensor.shape)}"
