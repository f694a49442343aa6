"""Where a frame lies for the GPU: in place when it can, copied once and counted when it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.errors import InferenceError
from edge.memory import gpu
from edge.memory.host import address
from edge.types import Copies, TensorSpec


class Placing:
    """Finds the device address of a frame's packed pixels. Owner: the backend's thread.

    A frame that is contiguous in the GPU's memory adds nothing to `copies`.
    """

    def __init__(self, device: gpu.Device, stream: gpu.Stream, frame: TensorSpec, path: str) -> None:
        """`frame`: the model's input, uint8 (1, H, W, 4). `path`: the model's, for errors. Raises GpuError."""
        self.copies = Copies()
        self._stream = stream
        self._shape = frame.shape[1:]
        self._path = path
        # A host frame lands where the GPU reads fastest: in its own memory, or on a Jetson in the common one.
        self._landing: gpu.Mapped | gpu.Linear = (
            gpu.Mapped(self._shape, np.uint8) if device.integrated else gpu.Linear(int(np.prod(self._shape)))
        )
        self.landing = self._landing.pointer

    def place(self, image: Any) -> int:
        """The address of pixels that work on the stream may read, now or in the stream's order.

        `image` has `__cuda_array_interface__`, or else `__array_interface__`. Raises InferenceError: another size.
        """
        there = getattr(image, "__cuda_array_interface__", None)
        interface = there or image.__array_interface__
        if tuple(interface["shape"]) != self._shape or interface["typestr"] != "|u1":
            came = f"{tuple(interface['shape'])} {interface['typestr']}"
            raise InferenceError(f"{self._path}: a frame of {came} came, {self._shape} |u1 was expected")
        return self._land(image) if there is None else self._in_place(there)

    def _in_place(self, there: dict[str, Any]) -> int:
        height, width, channels = self._shape
        if there.get("stream") is not None:  # whoever filled it may still be at it
            gpu.call("cuStreamSynchronize", there["stream"])
        pointer, strides = int(there["data"][0]), there.get("strides")
        if strides in (None, (width * channels, channels, 1)):
            return pointer
        pitch, *within = strides
        if within != [channels, 1]:
            raise InferenceError(f"{self._path}: a frame with strides {strides} came, pixels of RGBA were expected")
        self.copies += Copies(device=1)
        gpu.copy_rows(self.landing, pointer, pitch, width * channels, height, self._stream)
        return self.landing

    def _land(self, image: Any) -> int:
        """A host frame, copied to where the GPU reads it."""
        if isinstance(self._landing, gpu.Mapped):
            self.copies += Copies(host=1)
            self._landing.array[...] = np.asarray(image)
            return self.landing
        packed = np.asarray(image)
        if address(image) is None:
            self.copies += Copies(host=1)
            packed = np.ascontiguousarray(packed)
        self.copies += Copies(h2d=1)
        gpu.copy_to_device(self.landing, packed, self._stream)
        self._stream.synchronize()  # the frame's memory is only lent
        return self.landing

    def close(self) -> None:
        self._landing.close()
