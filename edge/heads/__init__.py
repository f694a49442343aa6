"""What the model's outputs mean: one file per head, found by its name.

`edge/heads/NAME.py` has a frozen `Config` (every field with a default, and a range) and
`open(config, outputs) -> Head`. A pipeline's `[[heads]]` table says `kind = "NAME"`; its other keys are that `Config`.
Adding a head is adding a file: nothing here names one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import ConfigError, ModelError
from edge.types import Detection, Field, Findings, Frame, Quality, TensorSpec

Array = npt.NDArray[Any]


class Head(Protocol):
    """Reads one or two outputs of the model. Used from the core loop's thread; keeps no reference to `outputs`."""

    fills: str
    """The field of `Findings` that this head fills: "detections" (heads add up) or "quality" (one head at most)."""

    def decode(self, outputs: Mapping[str, Array], field: Field) -> tuple[Detection, ...] | Quality:
        """`outputs` as promised by the specs given to `open`; any float in them, NaN and inf too. Never raises."""


class Heads:
    """All heads of a pipeline, in its order."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self._heads = tuple(heads)

    def decode(self, outputs: Mapping[str, Array], frame: Frame) -> Findings:
        """What the model said of `frame`. Only the frame's numbers and field are read, never its picture."""
        detections: list[Detection] = []
        quality = None
        for head in self._heads:
            found = head.decode(outputs, frame.field)
            if isinstance(found, Quality):
                quality = found
            else:
                detections += found
        return Findings(
            seq=frame.seq,
            captured_ns=frame.captured_ns,
            media_ns=frame.media_ns,
            detections=tuple(detections),
            quality=quality,
        )


def kinds() -> tuple[str, ...]:
    """The heads there are: the files of this folder."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def open_all(tables: Iterable[Mapping[str, Any]], outputs: tuple[TensorSpec, ...]) -> Heads:
    """The heads of a pipeline on a model with these outputs. ConfigError, or ModelError when the model does not fit."""
    heads: list[Head] = []
    for place, table in enumerate(tables):
        head = _open(f"heads[{place}]", table, outputs)
        if head.fills == "quality" and any(other.fills == "quality" for other in heads):
            raise ConfigError(f"heads[{place}]: another head already judges the picture; keep one of them")
        heads.append(head)
    return Heads(heads)


def require(head: str, outputs: tuple[TensorSpec, ...], name: str, shape: tuple[int | None, ...]) -> TensorSpec:
    """The float32 output `name` of this shape (None: any size), or a ModelError that names all three."""
    expected = f"float32 ({', '.join('any' if size is None else str(size) for size in shape)})"
    spec = next((spec for spec in outputs if spec.name == name), None)
    if spec is None:
        has = ", ".join(spec.name for spec in outputs) or "none"
        raise ModelError(f'head {head}: expected an output "{name}", {expected}; the model\'s outputs are: {has}')
    fits = len(spec.shape) == len(shape) and all(
        size > 0 and wanted in (None, size) for size, wanted in zip(spec.shape, shape, strict=True)
    )
    if spec.dtype != np.dtype(np.float32).name or not fits:
        raise ModelError(f'head {head}: output "{name}" is {spec.dtype} {spec.shape}, expected {expected}')
    return spec


def _open(place: str, table: Mapping[str, Any], outputs: tuple[TensorSpec, ...]) -> Head:
    kind = table.get("kind")
    if kind not in kinds():
        raise ConfigError(f"{place}.kind is {kind!r}; there are: {', '.join(kinds())}")
    module = importlib.import_module(f"{__name__}.{kind}")
    try:
        config = msgspec.convert({key: value for key, value in table.items() if key != "kind"}, module.Config)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{place}, a {kind} head: {exc}") from exc
    head: Head = module.open(config, outputs)
    return head
