"""GStreamer's CUDA memory (`memory:CUDAMemory`), read where its elements wrote it.

The elements are given our context, the device's primary one, in which TensorRT lives too: a pointer of a context of
their own would be of no use to us. Mapped with GST_MAP_CUDA, a GstMemory answers with the device's address, and nothing
is copied to the host. Libraries: GStreamer 1.22 and later.
"""

from __future__ import annotations

import ctypes
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from edge.errors import GpuError
from edge.memory import gpu
from edge.memory.blacken import Blackener
from edge.memory.device import DeviceImage
from edge.memory.mapper import READ_WRITE, close_all

LIBRARY = "libgstcuda-1.0.so.0"
MAP_CUDA = 0x20000  # GST_MAP_CUDA = GST_MAP_FLAG_LAST << 1
_P = ctypes.c_void_p


class CudaMapper:
    """See `mapper.Mapper`."""

    flags = READ_WRITE | MAP_CUDA
    host_copies = 0

    def __init__(self) -> None:
        """Raises GpuError."""
        self._library = _library()
        with ExitStack() as undo:
            self._device = gpu.Device.open()
            undo.callback(self._device.close)
            self._blackener = Blackener()
            undo.pop_all()

    def context(self) -> int:
        wrapped = self._library.gst_cuda_context_new_wrapped(int(gpu.call("cuCtxGetCurrent")), self._device.index)
        if not wrapped:
            raise GpuError(f"{LIBRARY} does not take our CUDA context")
        context = int(self._library.gst_context_new_cuda_context(wrapped))
        self._library.gst_object_unref(wrapped)  # the GstContext keeps it
        return context

    def image(self, memory: int, data: int, height: int, width: int, stride: int) -> DeviceImage:
        """Waits for what GStreamer's streams still do to it."""
        if not self._library.gst_is_cuda_memory(memory):
            raise GpuError("a frame of CUDA caps came in other memory")
        sync = getattr(self._library, "gst_cuda_memory_sync", None)  # since 1.24; before, elements wait by themselves
        if sync is not None:
            sync(memory)
        return DeviceImage(data, height, width, stride)

    def keep(self, mask: npt.NDArray[np.uint32]) -> None:
        self._blackener.keep(mask)

    def blacken(self, image: DeviceImage) -> None:
        self._blackener(image)

    def let_go(self) -> None:
        """Nothing is remembered of a pipeline."""

    def close(self) -> None:
        close_all(self._blackener, self._device)


def open() -> CudaMapper:
    return CudaMapper()


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as exc:
        raise GpuError(f"{LIBRARY} cannot be loaded ({exc}): GStreamer 1.22 or later brings it") from exc
    for name, result, arguments in (
        ("gst_cuda_load_library", ctypes.c_int, ()),
        ("gst_cuda_context_new_wrapped", _P, (_P, ctypes.c_int)),
        ("gst_context_new_cuda_context", _P, (_P,)),
        ("gst_is_cuda_memory", ctypes.c_int, (_P,)),
        ("gst_object_unref", None, (_P,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    if hasattr(library, "gst_cuda_memory_sync"):
        library.gst_cuda_memory_sync.restype, library.gst_cuda_memory_sync.argtypes = None, (_P,)
    if not library.gst_cuda_load_library():
        raise GpuError(f"{LIBRARY} finds no libcuda.so.1, or not all that it needs there")
    return library
