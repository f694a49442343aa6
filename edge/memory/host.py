"""Pixels in host memory, seen in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge.memory.mapper import READ_WRITE


class HostImage:
    """An RGBA uint8 picture `(height, width, 4)` at `pointer`, rows `stride` bytes apart. Owns nothing.

    `np.asarray(image)` is a view. Valid only while whoever lent the memory says so (see `types.Frame`).
    """

    __slots__ = ("__array_interface__",)

    def __init__(self, pointer: int, height: int, width: int, stride: int) -> None:
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "typestr": "|u1",
            "shape": (height, width, 4),
            "strides": (stride, 4, 1),
            "data": (pointer, False),
        }

    def settle(self) -> None:
        """Nobody reads host memory behind our back: there is nothing to wait for."""


def address(image: Any) -> int | None:
    """The address of a C-contiguous uint8 picture, or None when its rows are padded (the caller has to copy)."""
    interface = image.__array_interface__
    _, width, channels = interface["shape"]
    strides = interface.get("strides")
    if interface["typestr"] != "|u1" or strides not in (None, (width * channels, channels, 1)):
        return None
    return int(interface["data"][0])


def blacken(image: HostImage, keep: npt.NDArray[np.uint32]) -> None:
    """Set every pixel to 0 where `keep` (uint32 (H, W), 0 or 0xFFFFFFFF) is 0, in place."""
    pixels = np.asarray(image).view(np.uint32)[:, :, 0]
    np.bitwise_and(pixels, keep, out=pixels)


class HostMapper:
    """See `mapper.Mapper`: frames that are read where GStreamer wrote them."""

    flags = READ_WRITE
    host_copies = 0
    _keep: npt.NDArray[np.uint32]

    def context(self) -> int:
        return 0

    def image(self, memory: int, data: int, height: int, width: int, stride: int) -> HostImage:  # noqa: ARG002
        return HostImage(data, height, width, stride)

    def keep(self, mask: npt.NDArray[np.uint32]) -> None:
        self._keep = mask

    def blacken(self, image: HostImage) -> None:
        blacken(image, self._keep)

    def let_go(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


def open() -> HostMapper:
    return HostMapper()
