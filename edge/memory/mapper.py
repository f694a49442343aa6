"""How the buffers of a pipeline become images: one file a kind of memory, `memory = "nvmm"` is `edge/memory/nvmm.py`.

GStreamer stays in `capture`: a mapper says how a GstMemory has to be mapped, and gets the address that came of it.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge.errors import GpuError
from edge.types import Memory

log = logging.getLogger(__name__)

READ, READ_WRITE = 1, 3  # GstMapFlags


class Mapper(Protocol):
    """Owner: the thread that pulls. `open()` of its file makes one, for all pipelines of a source."""

    flags: int  # GstMapFlags for the frames' GstMemory
    host_copies: int  # whole pictures that it copied within host memory

    def context(self) -> int:
        """A new GstContext that a pipeline's elements have to be given, or 0. Owned by the caller."""

    def image(self, memory: int, data: int, height: int, width: int, stride: int) -> Any:
        """What a mapped GstMemory at address `memory` holds: see `types.Frame.image`. `data`: where it was mapped.

        Good until the memory is unmapped. Raises GpuError.
        """

    def keep(self, mask: npt.NDArray[np.uint32]) -> None:
        """From now on what `blacken` leaves: uint32 (H, W), 0 or 0xFFFFFFFF."""

    def blacken(self, image: Any) -> None:
        """Set every pixel to 0 where the mask is 0, in place. Raises GpuError."""

    def let_go(self) -> None:
        """Forget everything of a pipeline. Called before it goes to NULL, with nothing lent. Never raises."""

    def close(self) -> None:
        """After the last pipeline. Never raises; harmless when called again."""


class _Closing(Protocol):
    def close(self) -> None: ...


def close_all(*parts: _Closing | None) -> None:
    """Each in turn, whatever fails: from a GPU that broke nothing can be given back, and others wait for their turn."""
    for part in parts:
        try:
            if part is not None:
                part.close()
        except GpuError as exc:
            log.error("giving back what was the GPU's: %s", exc)


def open(kind: Memory) -> Mapper:
    """Raises GpuError: no such GPU, driver or library."""
    mapper: Mapper = importlib.import_module(f"edge.memory.{kind}").open()
    return mapper


def missing(libraries: Sequence[str], modules: Sequence[str] = ()) -> list[str]:
    """Those shared libraries that cannot be loaded, and Python modules that are not installed."""
    return [name for name in libraries if not loads(name)] + [name for name in modules if not installed(name)]


def loads(library: str) -> bool:
    """Is this shared library here, with all that it needs?"""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def installed(module: str) -> bool:
    """Is this Python module here? It is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent
        return False
