"""Golden vectors: pictures, and what the released int8 file answered to them where it was released.

A box runs the same pictures through its own backend. What lies further off than the model's tolerance is not the model
that was measured: a processor whose 8-bit products saturate, a driver's bug, an engine built from something else.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import model
from edge.errors import ModelError
from edge.types import Backend, Model, Tolerance


@dataclass(frozen=True)
class Difference:
    """How far one output is from its golden values over all pictures, in its own unit."""

    output: str
    largest: float
    beyond: float  # share of the values that are further off than tolerance.near
    tolerance: Tolerance

    @property
    def fits(self) -> bool:
        return self.largest <= self.tolerance.most and self.beyond <= self.tolerance.share

    def __str__(self) -> str:
        allowed = self.tolerance
        return (
            f"{self.output}: off by at most {self.largest:.3g} (allowed {allowed.most:.3g}),"
            f" {self.beyond:.2%} of the values by more than {allowed.near:.3g} (allowed {allowed.share:.2%})"
        )


def difference(output: str, found: NDArray[np.float32], wanted: NDArray[np.float32], allowed: Tolerance) -> Difference:
    """Of two arrays of one shape. A NaN is infinitely far off."""
    off = np.abs(found.astype(np.float64) - wanted)
    off[np.isnan(off)] = np.inf
    return Difference(output, float(off.max()), float((off > allowed.near).mean()), allowed)


def differences(loaded: Model, backend: Backend) -> list[Difference]:
    """Every output of `backend` against the model's golden vectors. Raises ModelError: not the released file."""
    golden = loaded.manifest.golden
    frames, wanted = vectors(loaded)
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in wanted}
    for frame in frames:
        outputs = backend.infer(frame)
        for name, arrays in found.items():
            arrays.append(np.array(outputs[name], np.float32))  # a copy: the backend's memory is used again
    return [
        difference(name, np.concatenate(arrays), wanted[name], golden.tolerance[name][loaded.precision])
        for name, arrays in found.items()
    ]


def vectors(loaded: Model) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float32]]]:
    """Frames uint8 (N, H, W, 4) and, by output, the answers (N, ...). Raises ModelError naming file and key."""
    manifest, folder = loaded.manifest, Path(loaded.path).parent
    file = folder / manifest.golden.path
    arrays = _arrays(file, model.released(folder, manifest.golden.path, manifest.golden.sha256))
    pictures = len(arrays[manifest.input.name]) if manifest.input.name in arrays else 0
    for spec in (manifest.input, *manifest.outputs):
        wanted, found = (max(pictures, 1), *spec.shape[1:]), arrays.get(spec.name)
        if found is None:
            raise ModelError(f"{file}: {spec.name} is missing")
        if found.shape != wanted or found.dtype != spec.dtype:
            raise ModelError(
                f"{file}: {spec.name} is {found.dtype} {list(found.shape)}, expected {spec.dtype} {list(wanted)}"
            )
    return arrays[manifest.input.name], {spec.name: arrays[spec.name] for spec in manifest.outputs}


def _arrays(file: Path, content: bytes) -> Mapping[str, NDArray[Any]]:
    """The archive's arrays: the frames under the input's name, the answers under the outputs'."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, OSError, zipfile.BadZipFile) as exc:
        raise ModelError(f"{file}: is no archive of arrays: {exc}") from exc
