"""Pixels in host memory, seen in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


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
