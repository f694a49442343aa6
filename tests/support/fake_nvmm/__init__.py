"""A libnvbufsurface for tests, compiled where they run, and loaded before `edge/memory/nvmm.py` asks for it by name."""

from __future__ import annotations

import ctypes
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.memory import nvmm
from tests.support import compiled

HERE = Path(__file__).parent
_P = ctypes.c_void_p


class FakeSurfaces:
    """What a test asks of the library, and sees of it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.fake_surface.restype = _P
        for name in ("fake_surface_free", "fake_surface_drop"):
            getattr(library, name).argtypes = (_P,)

    def surface(
        self,
        width: int,
        height: int,
        colour: int = nvmm.RGBA,
        layout: int = nvmm.PITCH_LINEAR,
        kind: int = nvmm.SURFACE_ARRAY,
    ) -> int:
        """The address of a new NvBufSurface; its rows are padded to 256 bytes."""
        return int(self._library.fake_surface(width, height, colour, layout, kind))

    def free(self, surface: int) -> None:
        """A mistake while the surface has an image."""
        self._library.fake_surface_free(surface)

    def drop(self, surface: int) -> None:
        """Its image goes with it."""
        self._library.fake_surface_drop(surface)

    def display(self, there: bool) -> None:
        self._library.fake_display(int(there))

    def arrays(self, all_of_them: bool) -> None:
        self._library.fake_arrays(int(all_of_them))

    @property
    def images(self) -> int:
        return int(self._library.fake_images())

    @property
    def surfaces(self) -> int:
        return int(self._library.fake_surfaces())

    def mistakes(self) -> int:
        """Since the last question."""
        return int(self._library.fake_mistakes())


def pixels(surface: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A surface's pixels as the video hardware sees them: uint8 (height, width, channels), rows padded."""
    params = nvmm.Surface.from_address(surface).surfaceList[0]
    rows = (ctypes.c_uint8 * (params.pitch * params.height)).from_address(params.dataPtr)
    padded = np.frombuffer(rows, np.uint8).reshape(params.height, params.pitch)
    depth = params.planeParams.bytesPerPix[0]
    return padded[:, : params.width * depth].reshape(params.height, params.width, depth)


@functools.cache
def _loaded() -> FakeSurfaces | str:
    if compiled.is_loaded(nvmm.LIBRARY):
        return f"a real {nvmm.LIBRARY} is loaded in this process"
    with tempfile.TemporaryDirectory() as folder:
        library = compiled.shared(Path(folder) / nvmm.LIBRARY, HERE / "libnvbufsurface.c")
        return FakeSurfaces(ctypes.CDLL(str(library)))


def started() -> Iterator[FakeSurfaces]:
    """For a fixture: afterwards nothing may be left, and nothing may have been done in the wrong order."""
    fake = _loaded()
    if isinstance(fake, str):
        pytest.skip(fake)
    fake.display(True)
    fake.arrays(False)
    fake.mistakes()
    yield fake
    assert fake.mistakes() == 0
    assert (fake.images, fake.surfaces) == (0, 0)
