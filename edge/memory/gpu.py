"""CUDA's driver API: the only file that imports `cuda` (cuda-bindings), and only when a GPU was chosen.

A few small owners of what CUDA lends (context, stream, graph, memory, module), each with `close()`, which may be called
twice. Everything raises GpuError with CUDA's own text. No runtime API and no PyTorch: the box needs the driver alone.
A context belongs to threads one by one: whoever calls from a second thread makes it current there first.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import EdgeError, GpuError

log = logging.getLogger(__name__)

INSTALL = "pip install 'endoedge[cuda12]' (JetPack 6, CUDA 12) or 'endoedge[cuda13]' (JetPack 7, CUDA 13)"


@functools.cache
def driver() -> Any:
    """The module `cuda.bindings.driver`, with all enums and structs. Raises GpuError: not installed, or no driver."""
    try:
        from cuda.bindings import driver as module
    except ImportError as exc:
        raise GpuError(f"CUDA's Python bindings cannot be imported ({exc}): {INSTALL}") from exc
    try:
        module.cuDriverGetVersion()
    except RuntimeError as exc:  # the bindings look for the library at the first call
        raise GpuError(f"libcuda.so.1 cannot be loaded, NVIDIA's driver is missing: {_first_line(exc)}") from exc
    return module


def call(name: str, *arguments: Any) -> Any:
    """`cuda.bindings.driver.NAME(*arguments)`, checked: None, its one value, or a tuple of them.

    Raises GpuError("cuMemAlloc: out of memory (CUDA_ERROR_OUT_OF_MEMORY)").
    """
    try:
        result, *values = getattr(driver(), name)(*arguments)
    except RuntimeError as exc:  # a driver that is too old has not this function
        raise GpuError(f"{name}: {_first_line(exc)}") from exc
    if result != 0:
        raise GpuError(f"{name}: {_text(result)} ({getattr(result, 'name', int(result))})")
    return (*values, None)[0] if len(values) < 2 else tuple(values)


def _text(result: Any) -> str:
    _, text = driver().cuGetErrorString(result)
    return text.decode() if text else "unknown error"


def _first_line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0] or type(exc).__name__


class Device:
    """One GPU and its primary context: that of CUDA's runtime, so of TensorRT. `memory_bytes` is all it has."""

    def __init__(self, index: int, handle: Any, context: Any) -> None:
        attributes = driver().CUdevice_attribute
        self.index = index
        self._handle = handle
        self._context = context
        self.name: str = call("cuDeviceGetName", 256, handle).split(b"\0")[0].decode()
        self.uuid: str = bytes(call("cuDeviceGetUuid", handle).bytes).hex()
        self.memory_bytes = int(call("cuDeviceTotalMem", handle))
        self.compute_capability: tuple[int, int] = (
            call("cuDeviceGetAttribute", attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, handle),
            call("cuDeviceGetAttribute", attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, handle),
        )
        # A Jetson's GPU shares its memory with the processor: mapped host memory is as near as any.
        self.integrated = bool(call("cuDeviceGetAttribute", attributes.CU_DEVICE_ATTRIBUTE_INTEGRATED, handle))

    @classmethod
    def open(cls, index: int = 0) -> Device:
        """The `index`-th GPU, its primary context retained and made current in this thread."""
        call("cuInit", 0)
        handle = call("cuDeviceGet", index)
        context = call("cuDevicePrimaryCtxRetain", handle)
        try:
            call("cuCtxSetCurrent", context)
            return cls(index, handle, context)
        except GpuError:
            call("cuDevicePrimaryCtxRelease", handle)
            raise

    def make_current(self) -> None:
        """In the calling thread: needed once, before its first CUDA call."""
        call("cuCtxSetCurrent", self._context)

    def close(self) -> None:
        """After everything that lives in the context was closed."""
        context, self._context = self._context, None
        if context is not None:
            call("cuDevicePrimaryCtxRelease", self._handle)


class Graph:
    """Work recorded from a stream, with the addresses it had then."""

    def __init__(self, executable: Any) -> None:
        self._executable = executable

    def launch(self, stream: Stream) -> None:
        call("cuGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        executable, self._executable = self._executable, None
        if executable is not None:
            call("cuGraphExecDestroy", executable)


class Stream:
    """A stream of its own that never waits for the default one."""

    def __init__(self) -> None:
        self._stream = call("cuStreamCreate", driver().CUstream_flags.CU_STREAM_NON_BLOCKING)
        self.handle = int(self._stream)

    def synchronize(self) -> None:
        """Wait until all its work is done. An error of that work surfaces here."""
        call("cuStreamSynchronize", self.handle)

    def captured(self, enqueue: Callable[[], None]) -> Graph | None:
        """What `enqueue` puts into the stream, recorded instead of run. None when it cannot be recorded.

        Whatever happened, the stream is out of capture mode afterwards and usable. `enqueue` says by any EdgeError that
        it failed. Thread-local capture: what GStreamer's threads allocate meanwhile is allowed.
        """
        mode = driver().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        failed: EdgeError | None = None
        recorded = None
        try:
            call("cuStreamBeginCapture", self.handle, mode)
            try:
                enqueue()
            except EdgeError as exc:
                failed = exc
            recorded = call("cuStreamEndCapture", self.handle)
            if failed is None:
                return Graph(call("cuGraphInstantiate", recorded, 0))
        except GpuError as exc:
            failed = failed or exc
        finally:
            if recorded is not None and int(recorded):
                call("cuGraphDestroy", recorded)
        log.warning("no CUDA graph, work is enqueued each time: %s", failed)
        return None

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            call("cuStreamDestroy", stream)


class Mapped:
    """Page-locked host memory that the GPU sees in place: `array` on the host, `pointer` on the device.

    `array` must not be used after `close()`.
    """

    def __init__(self, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        cuda, kind = driver(), np.dtype(dtype)
        size = max(math.prod(shape) * kind.itemsize, 1)
        self._host = int(call("cuMemHostAlloc", size, cuda.CU_MEMHOSTALLOC_DEVICEMAP | cuda.CU_MEMHOSTALLOC_PORTABLE))
        try:
            self.pointer = int(call("cuMemHostGetDevicePointer", self._host, 0))
        except GpuError:
            self.close()
            raise
        block = (ctypes.c_ubyte * size).from_address(self._host)
        self.array: npt.NDArray[Any] = np.frombuffer(memoryview(block), kind, math.prod(shape)).reshape(shape)
        self.array.fill(0)

    def close(self) -> None:
        host, self._host = self._host, 0
        if host:
            call("cuMemFreeHost", host)


class Linear:
    """`size` bytes of device memory at `pointer`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pointer = int(call("cuMemAlloc", size))

    def close(self) -> None:
        pointer, self.pointer = self.pointer, 0
        if pointer:
            call("cuMemFree", pointer)


# Copies of pixels are counted by whoever calls these.


def copy_to_device(target: int, source: npt.NDArray[Any], stream: Stream) -> None:
    """A contiguous host array to device memory at `target`; `source` must live until the stream has done it."""
    call("cuMemcpyHtoDAsync", target, source.ctypes.data, source.nbytes, stream.handle)


def copy_to_host(target: npt.NDArray[Any], source: int, stream: Stream) -> None:
    """Device memory at `source` to a contiguous host array, which is whole once the stream has done it."""
    call("cuMemcpyDtoHAsync", target.ctypes.data, source, target.nbytes, stream.handle)


def copy_rows(target: int, source: int, pitch: int, row_bytes: int, rows: int, stream: Stream) -> None:
    """`rows` of `row_bytes`, `pitch` bytes apart at `source`, to packed rows at `target`, all in device memory."""
    cuda = driver()
    copy = cuda.CUDA_MEMCPY2D()
    copy.srcMemoryType = copy.dstMemoryType = cuda.CUmemorytype.CU_MEMORYTYPE_DEVICE
    copy.srcDevice, copy.srcPitch = source, pitch
    copy.dstDevice, copy.dstPitch = target, row_bytes
    copy.WidthInBytes, copy.Height = row_bytes, rows
    call("cuMemcpy2DAsync", copy, stream.handle)


class Module:
    """Kernels from PTX, which the driver compiles for the GPU that is there."""

    def __init__(self, ptx: bytes) -> None:
        self._module = call("cuModuleLoadData", ptx + b"\0")

    def function(self, name: str) -> Any:
        return call("cuModuleGetFunction", self._module, name.encode())

    def close(self) -> None:
        module, self._module = self._module, None
        if module is not None:
            call("cuModuleUnload", module)


def launch(
    function: Any,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    arguments: Sequence[ctypes._SimpleCData[Any]],
    stream: Stream,
) -> None:
    """Enqueue a kernel. `arguments` are ctypes values of the kernel's own types, read before this returns."""
    places = (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
    call("cuLaunchKernel", function, *grid, *block, 0, stream.handle, ctypes.addressof(places), 0)
