"""Frames that arrive in host memory, written once into memory that the GPU reads in place.

For a Jetson whose frames cannot stay in NVMM (no EGL): its GPU reads page-locked host memory as fast as any. The one
copy also blackens what is outside the field, which would have touched every pixel anyway.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.memory import gpu
from edge.memory.device import DeviceImage
from edge.memory.host import HostImage
from edge.memory.mapper import READ, close_all


class MappedImage(DeviceImage):
    """A DeviceImage that the host may read as well, in place."""

    __slots__ = ("__array_interface__",)

    def __init__(self, pointer: int, array: npt.NDArray[np.uint8]) -> None:
        """`array`: contiguous (H, W, 4), which the GPU has at `pointer`."""
        height, width, channels = array.shape
        super().__init__(pointer, height, width, width * channels)
        self.__array_interface__ = array.__array_interface__


class MappedMapper:
    """See `mapper.Mapper`. One picture is lent at a time, so there is one buffer: one address for a CUDA graph."""

    flags = READ

    def __init__(self) -> None:
        """Raises GpuError."""
        self._device = gpu.Device.open()
        self._memory: gpu.Mapped | None = None
        self.host_copies = 0

    def context(self) -> int:
        return 0

    def keep(self, mask: npt.NDArray[np.uint32]) -> None:
        self._mask = mask
        if self._memory is None:
            self._memory = gpu.Mapped((*mask.shape, 4), np.uint8)

    def image(self, memory: int, data: int, height: int, width: int, stride: int) -> MappedImage:  # noqa: ARG002
        assert self._memory is not None  # `keep` comes first
        pixels = np.asarray(HostImage(data, height, width, stride)).view(np.uint32)[:, :, 0]
        np.bitwise_and(pixels, self._mask, out=self._memory.array.view(np.uint32)[:, :, 0])
        self.host_copies += 1
        return MappedImage(self._memory.pointer, self._memory.array)

    def blacken(self, image: MappedImage) -> None:
        """It came so."""

    def let_go(self) -> None:
        """Nothing is remembered of a pipeline."""

    def close(self) -> None:
        close_all(self._memory, self._device)
        self._memory = None


def open() -> MappedMapper:
    return MappedMapper()
