"""A GStreamer element `nvvidconv` over the fake surfaces: crops, scales and moves pictures into NVMM and out of it.

It has a pool as the real one has: a buffer that is out is not written again, and in NULL the surfaces are freed, which
is a mistake while one still has an EGL image. Pictures are RGBA inside, whatever format their NVMM caps name.
"""

from __future__ import annotations

import ctypes
import time
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from edge.capture import gst_c as c
from edge.capture.gst import Gst
from edge.memory import nvmm
from tests.support import gst_element
from tests.support.fake_nvmm import FakeSurfaces, pixels
from tests.support.gst_element import property_of, scaled, shape_of

NV12 = 6
_wrap = ctypes.CDLL("libgstreamer-1.0.so.0").gst_buffer_new_wrapped_full
_wrap.restype = ctypes.c_void_p
_wrap.argtypes = (ctypes.c_int, ctypes.c_void_p, *[ctypes.c_size_t] * 3, ctypes.c_void_p, ctypes.c_void_p)
library: FakeSurfaces | None = None


class _MiniObject(ctypes.Structure):
    _fields_ = (("type", ctypes.c_size_t), ("refcount", ctypes.c_int))


class Pool:
    """Surfaces, each the memory of one GstBuffer that is reused when nobody else holds it."""

    def __init__(self, width: int, height: int, colour: int, count: int) -> None:
        assert library is not None
        self.surfaces = [library.surface(width, height, colour) for _ in range(count)]
        size = ctypes.sizeof(nvmm.Surface)
        self._buffers = [_wrap(0, surface, size, 0, size, None, None) for surface in self.surfaces]

    def take(self) -> tuple[int, int]:
        """(buffer, surface) that nobody holds; waits for one as the real pool does."""
        while True:
            for buffer, surface in zip(self._buffers, self.surfaces, strict=True):
                if _MiniObject.from_address(buffer).refcount == 1:
                    return c.ref(buffer), surface
            time.sleep(0.001)

    def free(self) -> None:
        assert library is not None
        for buffer in self._buffers:
            c.unref(buffer)
        for surface in self.surfaces:
            library.free(surface)
        self.surfaces, self._buffers = [], []


class NvVidConv(gst_element.Converter):
    __gstmetadata__ = ("NvVidConv", "Filter/Converter/Video/Scaler", "a fake", "tests")
    __gsttemplates__ = gst_element.templates(
        "video/x-raw,format={RGBA,BGRx};video/x-raw(memory:NVMM),format={RGBA,NV12}"
    )
    bl_output = property_of(type=bool, default=True)
    output_buffers = property_of(type=int, default=4)
    left = property_of(type=int, default=0)
    right = property_of(type=int, default=0)
    top = property_of(type=int, default=0)
    bottom = property_of(type=int, default=0)

    def __init__(self) -> None:
        super().__init__()
        self._pool: Pool | None = None

    def negotiated(self) -> None:
        if self._pool is not None:
            self._pool.free()
            self._pool = None
        if self.caps_out.get_features(0).contains("memory:NVMM"):
            width, height, form = shape_of(self.caps_out)
            self._pool = Pool(width, height, nvmm.RGBA if form == "RGBA" else NV12, self.output_buffers)

    def convert(self, buffer: int) -> int:
        width, height, form = shape_of(self.caps_out)
        picture = self._read(buffer)
        x0, y0, x1, y1 = self.left, self.top, self.right, self.bottom
        small = scaled(picture[y0:y1, x0:x1] if x1 > x0 and y1 > y0 else picture, width, height)
        if self._pool is not None:
            out, surface = self._pool.take()
            pixels(surface)[:] = small
            return out
        flat = np.ascontiguousarray(small if form == "RGBA" else small[:, :, [2, 1, 0, 3]]).tobytes()
        out = int(c.new_buffer(None, len(flat), None))
        c.fill(out, 0, flat, len(flat))
        return out

    def _read(self, buffer: int) -> np.ndarray:
        """RGBA of what comes, by the memory that it comes in."""
        mapping = c.MapInfo()
        assert c.map(c.peek_memory(buffer, 0), ctypes.byref(mapping), 1)
        try:
            if self.caps_in.get_features(0).contains("memory:NVMM"):
                return pixels(int(mapping.data)).copy()
            width, height, form = shape_of(self.caps_in)
            rgba = np.frombuffer(ctypes.string_at(mapping.data, width * height * 4), np.uint8)
            rgba = rgba.reshape(height, width, 4)
            return rgba if form == "RGBA" else rgba[:, :, [2, 1, 0, 3]]
        finally:
            c.unmap(mapping.memory, ctypes.byref(mapping))

    def do_change_state(self, transition: Any) -> Any:
        result = Gst.Element.do_change_state(self, transition)
        if transition is Gst.StateChange.PAUSED_TO_READY and self._pool is not None:
            self._pool.free()
            self._pool = self.caps_out = None
        return result


gst_element.register_type(NvVidConv)


def registered(surfaces: FakeSurfaces) -> AbstractContextManager[None]:
    """GStreamer has an element `nvvidconv`, meanwhile."""
    global library
    library = surfaces
    return gst_element.registered("nvvidconv", NvVidConv)
