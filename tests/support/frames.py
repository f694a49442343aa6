"""Pictures for tests: in device memory, in host memory, and what the little green model says of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.memory import gpu
from tests.support.models import SIZE


class DeviceImage:
    """A picture in the GPU's memory, rows `pitch` bytes apart. What a capture buffer looks like."""

    def __init__(self, pixels: Any, pitch: int | None = None) -> None:
        height, width, channels = pixels.shape
        pitch = pitch or width * channels
        self._memory = gpu.Mapped((height, pitch), np.uint8)
        self._memory.array[:, : width * channels] = pixels.reshape(height, -1)
        self.pointer = self._memory.pointer
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": pixels.shape,
            "typestr": "|u1",
            "strides": (pitch, channels, 1),
            "data": (self.pointer, False),
        }

    def close(self) -> None:
        self._memory.close()


def snow(height: int, width: int, seed: int) -> Any:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[:, :, 3] = 255
    return pixels


def green(value: int) -> Any:
    picture = np.zeros((SIZE, SIZE, 4), np.uint8)
    picture[..., 1] = value
    return picture


def polyp_logit(value: int) -> float:
    return 0.4 * value - 8
