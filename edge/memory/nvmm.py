"""A Jetson's NVMM buffers, read by CUDA where the video hardware wrote them.

    GstMemory → NvBufSurface → EGLImage → CUDA resource → device pointer

A buffer of a pool is brought to CUDA once, when it is first seen, and stays so until the pipeline goes or its memory
is freed. NVIDIA publishes no Python for this, so libnvbufsurface is called by ctypes; the structs below are the head of
its public ones, up to the last field that is read (their tails differ by release). What is not as expected is refused:
a pointer to something else would be read as a picture.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge.errors import GpuError
from edge.memory import gpu
from edge.memory.blacken import Blackener
from edge.memory.device import DeviceImage
from edge.memory.freed import Freed
from edge.memory.mapper import READ, close_all

log = logging.getLogger(__name__)

LIBRARY = "libnvbufsurface.so.1.0.0"
SURFACE_ARRAY = 4  # NVBUF_MEM_SURFACE_ARRAY: a Jetson's own
PITCH_LINEAR = 0  # NVBUF_LAYOUT_PITCH; block-linear surfaces have no rows
RGBA = 19  # NVBUF_COLOR_FORMAT_RGBA
MOST = 32  # surfaces of one pipeline; pools have 8
_U32, _P = ctypes.c_uint32, ctypes.c_void_p


class Planes(ctypes.Structure):
    """NvBufSurfacePlaneParams."""

    _fields_ = (
        ("num_planes", _U32),
        ("width", _U32 * 4),
        ("height", _U32 * 4),
        ("pitch", _U32 * 4),
        ("offset", _U32 * 4),
        ("psize", _U32 * 4),
        ("bytesPerPix", _U32 * 4),
        ("_reserved", _P * 16),
    )


class Params(ctypes.Structure):
    """NvBufSurfaceParams: one buffer of a surface."""

    _fields_ = (
        ("width", _U32),
        ("height", _U32),
        ("pitch", _U32),
        ("colorFormat", ctypes.c_int),
        ("layout", ctypes.c_int),
        ("bufferDesc", ctypes.c_uint64),
        ("dataSize", _U32),
        ("dataPtr", _P),
        ("planeParams", Planes),
        ("mappedAddr", _P * 4),
        ("eglImage", _P),
    )


class Surface(ctypes.Structure):
    """NvBufSurface: a batch of buffers; ours have one."""

    _fields_ = (
        ("gpuId", _U32),
        ("batchSize", _U32),
        ("numFilled", _U32),
        ("isContiguous", ctypes.c_bool),
        ("memType", ctypes.c_int),
        ("surfaceList", ctypes.POINTER(Params)),
    )


class _Mapped(NamedTuple):
    """A surface that CUDA sees. `memory`: the GstMemory that owns it."""

    memory: int
    resource: Any
    pointer: int
    pitch: int


_Key = tuple[int, int]  # address of the surface, its bufferDesc


class NvmmMapper:
    """See `mapper.Mapper`. GstMemory is mapped for reading alone: what is mapped is the surface's description."""

    flags = READ
    host_copies = 0

    def __init__(self) -> None:
        """Raises GpuError."""
        try:
            library = ctypes.CDLL(LIBRARY)
        except OSError as exc:
            raise GpuError(f"{LIBRARY} cannot be loaded ({exc}): it comes with a Jetson's L4T multimedia") from exc
        self._map_egl = library.NvBufSurfaceMapEglImage
        self._unmap_egl = library.NvBufSurfaceUnMapEglImage
        for function in (self._map_egl, self._unmap_egl):
            function.argtypes, function.restype = (_P, ctypes.c_int), ctypes.c_int
        with ExitStack() as undo:
            self._device = gpu.Device.open()
            undo.callback(self._device.close)
            self._blackener = Blackener()
            undo.pop_all()
        self._seen: dict[_Key, _Mapped] = {}
        self._freed = Freed()

    def context(self) -> int:
        return 0

    def image(self, memory: int, data: int, height: int, width: int, stride: int) -> DeviceImage:  # noqa: ARG002
        """The pitch is the surface's own: caps know nothing of it."""
        self._forget_freed()
        params = _checked(data, height, width)
        key = data, int(params.bufferDesc)
        mapped = self._seen.get(key)
        if mapped is None:
            mapped = self._seen[key] = self._bring(memory, data, params)
            self._freed.watch(memory)
            if len(self._seen) == MOST + 1:
                log.warning("NVMM: more than %d surfaces in one pipeline, its pool does not rotate", MOST)
        return DeviceImage(mapped.pointer, height, width, mapped.pitch)

    def keep(self, mask: npt.NDArray[np.uint32]) -> None:
        self._blackener.keep(mask)

    def blacken(self, image: DeviceImage) -> None:
        self._blackener(image)

    def _bring(self, memory: int, data: int, params: Params) -> _Mapped:
        """To CUDA; undone again when any step fails."""
        with ExitStack() as undo:
            if self._map_egl(data, 0) != 0 or not params.eglImage:
                raise GpuError(
                    "NvBufSurfaceMapEglImage failed: EGL has no display here;"
                    " a service without a screen must not have DISPLAY set, and needs the groups video and render"
                )
            undo.callback(self._unmap_egl, data, 0)
            cuda = gpu.driver()
            resource = gpu.call("cuGraphicsEGLRegisterImage", params.eglImage, 0)
            undo.callback(gpu.call, "cuGraphicsUnregisterResource", resource)
            frame = gpu.call("cuGraphicsResourceGetMappedEglFrame", resource, 0, 0)
            if frame.frameType != cuda.CUeglFrameType.CU_EGL_FRAME_TYPE_PITCH:
                raise GpuError("an NVMM frame came as a CUDA array: nvvidconv needs bl-output=false")
            pointer = int(frame.frame.pPitch[0] or 0)
            if not pointer or (frame.width, frame.height) != (params.width, params.height):
                raise GpuError(
                    f"CUDA sees an NVMM frame of {params.width}x{params.height} px as {frame.width}x{frame.height}"
                )
            undo.pop_all()
        return _Mapped(memory, resource, pointer, int(params.planeParams.pitch[0]))

    def _forget_freed(self) -> None:
        """Surfaces whose memory is gone: the address may be another surface's by now, so EGL is not asked."""
        gone = self._freed.take()
        for key in [key for key, mapped in self._seen.items() if mapped.memory in gone]:
            with _logged("a surface that was freed"):
                gpu.call("cuGraphicsUnregisterResource", self._seen.pop(key).resource)

    def let_go(self) -> None:
        """First CUDA, then EGL, and only then may GStreamer free the surfaces."""
        if not self._seen:
            return
        self._forget_freed()
        with _logged("the GPU's last work"):
            gpu.call("cuCtxSynchronize")
        for (data, _), mapped in self._seen.items():
            self._freed.unwatch(mapped.memory)
            with _logged("a surface"):
                gpu.call("cuGraphicsUnregisterResource", mapped.resource)
                if self._unmap_egl(data, 0) != 0:
                    raise GpuError("NvBufSurfaceUnMapEglImage failed")
        self._seen.clear()

    def close(self) -> None:
        self.let_go()
        close_all(self._freed, self._blackener, self._device)


def open() -> NvmmMapper:
    return NvmmMapper()


@contextmanager
def _logged(what: str) -> Iterator[None]:
    """Giving back goes on, whatever fails on the way."""
    try:
        yield
    except GpuError as exc:
        log.error("NVMM: giving back %s: %s", what, exc)


def _checked(data: int, height: int, width: int) -> Params:
    """What the surface at that address says of its picture. Raises GpuError when that is not what caps promised."""
    surface = Surface.from_address(data)
    params: Params | None = surface.surfaceList[0] if surface.surfaceList and surface.numFilled else None
    if params is None:
        raise GpuError("an NVMM surface came with nothing in it")
    found = {
        "memory type": (surface.memType, SURFACE_ARRAY),
        "layout": (params.layout, PITCH_LINEAR),
        "colour format": (params.colorFormat, RGBA),
        "planes": (params.planeParams.num_planes, 1),
        "width": (params.width, width),
        "height": (params.height, height),
    }
    wrong = [f"{name} {is_} (expected {wanted})" for name, (is_, wanted) in found.items() if is_ != wanted]
    if params.planeParams.pitch[0] < 4 * width:
        wrong.append(f"pitch {params.planeParams.pitch[0]} (expected {4 * width} or more)")
    if wrong:
        raise GpuError(f"an NVMM surface is not what its caps say: {', '.join(wrong)}")
    return params
