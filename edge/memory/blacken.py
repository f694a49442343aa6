"""Blackens a picture's outside on the GPU, in place: `host.blacken` for frames that must not come to the host.

The kernel is text (`blacken.ptx`), a dozen instructions; docs/adr/0009 says why there is one at all.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.memory import gpu
from edge.memory.device import DeviceImage
from edge.memory.mapper import close_all

PTX = Path(__file__).with_suffix(".ptx")
THREADS = 256  # in a block


class Blackener:
    """Owner: one thread, in which the GPU's context is current."""

    def __init__(self) -> None:
        """Raises GpuError."""
        self._stream = gpu.Stream()
        self._module: gpu.Module | None = None
        self._mask: gpu.Linear | None = None
        try:
            self._module = gpu.Module(PTX.read_bytes())
            self._kernel = self._module.function("blacken")
        except BaseException:
            self.close()
            raise

    def keep(self, mask: npt.NDArray[np.uint32]) -> None:
        """`mask`: uint32 (H, W), 0xFFFFFFFF where pixels stay, else 0. Where all stay, nothing will be done."""
        before, self._mask = self._mask, None
        if before is not None:
            before.close()
        if not mask.all():
            packed = np.ascontiguousarray(mask)
            self._mask = gpu.Linear(packed.nbytes)
            gpu.copy_to_device(self._mask.pointer, packed, self._stream)
            self._stream.synchronize()

    def __call__(self, image: DeviceImage) -> None:
        """Returns when it is done, so that readers in any stream find it so. Raises GpuError."""
        if self._mask is None:
            return
        interface = image.__cuda_array_interface__
        height, width, _ = interface["shape"]
        arguments = (
            ctypes.c_uint64(interface["data"][0]),
            ctypes.c_uint64(self._mask.pointer),
            ctypes.c_uint32(interface["strides"][0]),
            ctypes.c_uint32(width),
            ctypes.c_uint32(height),
        )
        blocks = -(-width * height // THREADS)
        gpu.launch(self._kernel, (blocks, 1, 1), (THREADS, 1, 1), arguments, self._stream)
        self._stream.synchronize()

    def close(self) -> None:
        """Never raises."""
        close_all(self._mask, self._module, self._stream)
        self._mask = self._module = None
