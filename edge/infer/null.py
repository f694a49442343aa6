"""No model at all: the frame's address is taken, every output is constant. For the path's own cost, and for tests.

Segmentation logits are far below any threshold, so nothing is ever found; the thumbnail is mucosa-coloured, so the
picture counts as a good view.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import InferenceError
from edge.memory.host import address
from edge.types import Copies, Model

DETAIL = 8.0
NOTHING = -20.0  # a logit
MUCOSA = (170.0, 95.0, 75.0)  # mean RGB


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[infer]` with `backend = "null"`."""


def open(config: Config, model: Model) -> NullBackend:  # noqa: ARG001  (name = file = config key)
    return NullBackend(model)


class NullBackend:
    """See `types.Backend`. Owner: one thread."""

    name = "null"

    def __init__(self, model: Model) -> None:
        self.input = model.manifest.input
        self.outputs = tuple(model.manifest.outputs)
        self.copies = Copies()
        self._results: dict[str, npt.NDArray[Any]] = {}
        for output in self.outputs:
            array = np.full(output.shape, DETAIL if output.name == "detail" else NOTHING, dtype=output.dtype)
            if output.name == "thumbnail":
                array[:] = np.array(MUCOSA, dtype=output.dtype).reshape(1, 3, 1, 1)
            self._results[output.name] = array

    def infer(self, image: Any) -> Mapping[str, npt.NDArray[Any]]:
        """See `types.Backend.infer`."""
        shape = tuple(image.__array_interface__["shape"])
        if shape != self.input.shape[1:]:
            raise InferenceError(f"null: a frame of {shape} came, {self.input.shape[1:]} was expected")
        if address(image) is None:
            self.copies += Copies(host=1)
        return self._results

    def close(self) -> None:
        """Nothing to give back."""
