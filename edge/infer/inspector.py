"""What an engine really computes in: TensorRT's inspector and profiler, read for people. Pure, from JSON alone.

The inspector's JSON ("Layers", each with "LayerType", "Inputs", "Outputs", "Weights") comes from a live engine or from
`trtexec --exportLayerInfo`, the times from a live engine or from `--exportProfile`. TensorRT 10 writes a tensor's type
as "Format/Datatype" ("Half", "Row major Int8 format"), 11 splits that in two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edge.errors import InferenceError
from edge.types import Precision

# Whole words of a tensor's type or format -> what it is computed in. Everything else is "other" (indices, shapes).
TYPES = {
    "INT8": ("int8",),
    "FP8": ("fp8",),
    "BF16": ("bfloat16", "bf16"),
    "FP16": ("half", "fp16", "float16"),
    "FP32": ("float", "fp32", "float32"),
}
CONVERSIONS = re.compile(
    r"reformat|quantize|cast|noop|copy", re.IGNORECASE
)  # by LayerType: they move, they do not compute
OF_TENSOR = ("Format/Datatype", "DataType", "Datatype")
FASTER = 0.97  # INT8 has to be at least 3 % faster: the rest is noise, and FP16 is nearer to the reference


@dataclass(frozen=True)
class Layer:
    """One layer of an engine. `ms`: of one inference, None when no profile was given."""

    name: str
    kind: str  # TensorRT's LayerType
    precision: str  # a key of TYPES, or "other"
    converts: bool
    ms: float | None


@dataclass(frozen=True)
class Row:
    """All layers of one precision (or all conversions)."""

    what: str
    layers: int
    ms: float | None
    share: float | None  # of the engine's time, 0..1


@dataclass(frozen=True)
class Audit:
    layers: tuple[Layer, ...]

    @property
    def ms(self) -> float | None:
        """One inference, the sum of its layers."""
        known = [layer.ms for layer in self.layers if layer.ms is not None]
        return sum(known) if known else None

    def rows(self) -> list[Row]:
        """Computing layers by precision, then what only converts. Empty ones are left out."""
        groups = {
            name: [x for x in self.layers if x.precision == name and not x.converts] for name in (*TYPES, "other")
        }
        groups["conversions"] = [layer for layer in self.layers if layer.converts]
        return [_row(what, layers, self.ms) for what, layers in groups.items() if layers]


def _row(what: str, layers: Sequence[Layer], total: float | None) -> Row:
    ms = None if total is None else sum(layer.ms or 0.0 for layer in layers)
    return Row(what, len(layers), ms, ms / total if ms is not None and total else None)


def audit(layers: str | bytes, profile: str | bytes | None = None, source: str = "the engine") -> Audit:
    """Raises InferenceError naming `source`: no inspector JSON, or one that has names alone."""
    said = _decoded(layers, source)
    entries = said.get("Layers") if isinstance(said, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InferenceError(f'{source}: is no JSON of TensorRT\'s engine inspector: it has no "Layers"')
    if not all(isinstance(entry, dict) for entry in entries):
        raise InferenceError(
            f"{source}: has the layers' names alone: build the engine with detailed profiling verbosity"
            " (`endoedge model build` does, trtexec with --profilingVerbosity=detailed)"
        )
    times = {} if profile is None else _times(profile, source)
    return Audit(tuple(_layer(entry, times) for entry in entries))


def _layer(entry: Mapping[str, Any], times: Mapping[str, float]) -> Layer:
    name, kind = str(entry.get("Name", "")), str(entry.get("LayerType", ""))
    return Layer(name, kind, _precision(entry), bool(CONVERSIONS.search(kind)), times.get(name))


def _precision(entry: Mapping[str, Any]) -> str:
    """Of the weights where there are any: what is multiplied. Else of the first tensor that is read, or written."""
    weights = entry.get("Weights")
    if isinstance(weights, dict) and weights.get("Type"):
        return _type(str(weights["Type"]))
    tensors = [*(entry.get("Inputs") or []), *(entry.get("Outputs") or [])]
    said = [str(tensor[key]) for tensor in tensors for key in OF_TENSOR if isinstance(tensor, dict) and key in tensor]
    return next((kind for kind in map(_type, said) if kind != "other"), "other")


def _type(text: str) -> str:
    words = set(re.findall(r"[a-z0-9]+", text.lower()))
    return next((name for name, known in TYPES.items() if words.intersection(known)), "other")


def _times(profile: str | bytes, source: str) -> dict[str, float]:
    """Milliseconds of one inference by layer, from trtexec's list: a count, then a dict a layer."""
    said = _decoded(profile, source)
    rows = [row for row in said if isinstance(row, dict) and "name" in row] if isinstance(said, list) else []
    if not rows or not all(isinstance(row.get("averageMs"), (int, float)) for row in rows):
        raise InferenceError(f'{source}: its profile is no list of layers with "name" and "averageMs"')
    return {str(row["name"]): float(row["averageMs"]) for row in rows}


def _decoded(text: str | bytes, source: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InferenceError(f"{source}: is not JSON: {exc}") from exc


def choice(int8_ms: float, fp16_ms: float) -> tuple[Precision, str]:
    """Which precision to run, and why, from the time of one inference in each."""
    ratio = f"INT8 {int8_ms:.3f} ms, FP16 {fp16_ms:.3f} ms"
    if int8_ms <= fp16_ms * FASTER:
        return "int8_trt", f"INT8 is {fp16_ms / int8_ms:.2f} times as fast as FP16 ({ratio}): INT8 it is"
    return "fp16_trt", f"INT8 is not faster than FP16 here ({ratio}): FP16 it is, which is nearer to the reference"
