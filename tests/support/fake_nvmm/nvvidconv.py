"""A GStreamer element `nvvidconv` over the fake surfaces: crops, scales and moves pictures into NVMM and out of it.

It has a pool as the real one has: a buffer that is out is not written again, and in NULL the surfaces are freed, which
is a mistake while one still has an EGL image. Pictures are RGBA inside, whatever format their NVMM caps name.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from edge.capture import gst
from edge.capture import gst_c as c
from edge.capture.gst import Gst
from edge.memory import nvmm
from tests.support.fake_nvmm import FakeSurfaces, pixels

gst.init()
gst.gi.require_version("GObject", "2.0")
from gi.repository import GObject  # noqa: E402

NV12 = 6
CAPS = Gst.Caps.from_string("video/x-raw,format={RGBA,BGRx};video/x-raw(memory:NVMM),format={RGBA,NV12}")
_wrap = ctypes.CDLL("libgstreamer-1.0.so.0").gst_buffer_new_wrapped_full
_wrap.restype = ctypes.c_void_p
_wrap.argtypes = (ctypes.c_int, ctypes.c_void_p, *[ctypes.c_size_t] * 3, ctypes.c_void_p, ctypes.c_void_p)
_push = ctypes.CDLL("libgstreamer-1.0.so.0").gst_pad_push
_push.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
_object = ctypes.CDLL("libgobject-2.0.so.0")
_object.g_object_ref.argtypes = _object.g_object_force_floating.argtypes = (ctypes.c_void_p,)
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


class NvVidConv(Gst.Element):  # type: ignore[misc, name-defined]
    __gstmetadata__ = ("NvVidConv", "Filter/Converter/Video/Scaler", "a fake", "tests")
    __gsttemplates__ = tuple(
        Gst.PadTemplate.new(name, direction, Gst.PadPresence.ALWAYS, CAPS)
        for name, direction in (("sink", Gst.PadDirection.SINK), ("src", Gst.PadDirection.SRC))
    )
    bl_output = GObject.Property(type=bool, default=True)
    output_buffers = GObject.Property(type=int, default=4)
    left = GObject.Property(type=int, default=0)
    right = GObject.Property(type=int, default=0)
    top = GObject.Property(type=int, default=0)
    bottom = GObject.Property(type=int, default=0)

    def __init__(self) -> None:
        super().__init__()
        self._in: Any = None
        self._out: Any = None
        self._pool: Pool | None = None
        sink, self._src = (
            Gst.Pad.new_from_template(template, template.name_template) for template in self.__gsttemplates__
        )
        sink.set_chain_function_full(self._chain)
        sink.set_event_function_full(self._event)
        self.add_pad(sink)
        self.add_pad(self._src)
        _object.g_object_ref(hash(self))  # PyGObject has sunk it, and a factory wants to do that itself
        _object.g_object_force_floating(hash(self))

    def _event(self, pad: Any, parent: Any, event: Any) -> bool:
        if event.type is not Gst.EventType.CAPS:
            return bool(pad.event_default(parent, event))
        self._in = event.parse_caps()
        out = self._src.get_allowed_caps().fixate()
        missing = [key for key in ("width", "height", "framerate") if not out.get_structure(0).has_field(key)]
        given = self._in.get_structure(0).to_string().rstrip(";").split(", ")
        text = [out.to_string(), *(field for field in given if field.partition("=")[0] in missing)]
        out = Gst.Caps.from_string(", ".join(text))
        if self._out is None or not out.is_equal(self._out):
            self._out = out
            if self._pool is not None:
                self._pool.free()
            self._pool = self._made_pool()
        return bool(self._src.push_event(Gst.Event.new_caps(out)))

    def _made_pool(self) -> Pool | None:
        if not self._out.get_features(0).contains("memory:NVMM"):
            return None
        width, height, form = self._of(self._out)
        return Pool(width, height, nvmm.RGBA if form == "RGBA" else NV12, self.output_buffers)

    @staticmethod
    def _of(caps: Any) -> tuple[int, int, str]:
        structure = caps.get_structure(0)
        return structure.get_value("width"), structure.get_value("height"), structure.get_value("format")

    def _chain(self, pad: Any, parent: Any, buffer: Any) -> Any:
        width, height, form = self._of(self._out)
        picture = self._read(hash(buffer))
        x0, y0, x1, y1 = self.left, self.top, self.right, self.bottom
        if x1 > x0 and y1 > y0:
            picture = picture[y0:y1, x0:x1]
        rows, columns = (np.arange(n) * m // n for n, m in zip((height, width), picture.shape[:2], strict=True))
        scaled = picture[rows[:, None], columns[None]]
        if self._pool is not None:
            out, surface = self._pool.take()
            pixels(surface)[:] = scaled
        else:
            flat = np.ascontiguousarray(scaled if form == "RGBA" else scaled[:, :, [2, 1, 0, 3]]).tobytes()
            out = c.new_buffer(None, len(flat), None)
            c.fill(out, 0, flat, len(flat))
        c.Buffer.from_address(out).pts = c.Buffer.from_address(hash(buffer)).pts
        return Gst.FlowReturn(_push(hash(self._src), out))

    def _read(self, buffer: int) -> np.ndarray:
        """RGBA of what comes, by the memory that it comes in."""
        mapping = c.MapInfo()
        assert c.map(c.peek_memory(buffer, 0), ctypes.byref(mapping), 1)
        try:
            if self._in.get_features(0).contains("memory:NVMM"):
                return pixels(int(mapping.data)).copy()
            width, height, form = self._of(self._in)
            rgba = np.frombuffer(ctypes.string_at(mapping.data, width * height * 4), np.uint8)
            rgba = rgba.reshape(height, width, 4)
            return rgba if form == "RGBA" else rgba[:, :, [2, 1, 0, 3]]
        finally:
            c.unmap(mapping.memory, ctypes.byref(mapping))

    def do_change_state(self, transition: Any) -> Any:
        result = Gst.Element.do_change_state(self, transition)
        if transition is Gst.StateChange.PAUSED_TO_READY and self._pool is not None:
            self._pool.free()
            self._pool = self._out = None
        return result


GObject.type_register(NvVidConv)


@contextmanager
def registered(surfaces: FakeSurfaces) -> Iterator[None]:
    """GStreamer has an element `nvvidconv`, meanwhile."""
    global library
    library = surfaces
    Gst.Element.register(None, "nvvidconv", 0, NvVidConv)
    try:
        yield
    finally:
        registry = Gst.Registry.get()
        registry.remove_feature(Gst.ElementFactory.find("nvvidconv"))
