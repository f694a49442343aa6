"""A GStreamer element in Python: for tests that stand in for a vendor's converter. One sink, one source, own caps."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from edge.capture import gst
from edge.capture import gst_c as c
from edge.capture.gst import Gst

gst.init()
gst.gi.require_version("GObject", "2.0")
from gi.repository import GObject  # noqa: E402

_object = ctypes.CDLL("libgobject-2.0.so.0")
_object.g_object_ref.argtypes = _object.g_object_force_floating.argtypes = (ctypes.c_void_p,)
_push = ctypes.CDLL("libgstreamer-1.0.so.0").gst_pad_push
_push.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
PADS = (("sink", Gst.PadDirection.SINK), ("src", Gst.PadDirection.SRC))


def templates(caps: str) -> tuple[Any, ...]:
    made = Gst.Caps.from_string(caps)
    return tuple(Gst.PadTemplate.new(name, direction, Gst.PadPresence.ALWAYS, made) for name, direction in PADS)


def shape_of(caps: Any) -> tuple[int, int, str]:
    """(width, height, format)."""
    structure = caps.get_structure(0)
    return structure.get_value("width"), structure.get_value("height"), structure.get_value("format")


def scaled(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """The nearest pixels."""
    rows, columns = (np.arange(n) * m // n for n, m in zip((height, width), picture.shape[:2], strict=True))
    return picture[rows[:, None], columns[None]]


class Converter(Gst.Element):  # type: ignore[misc, name-defined]
    """`convert` makes a new GstBuffer of one that came; what caps leave open stays as it comes."""

    __gsttemplates__ = templates("ANY")

    def __init__(self) -> None:
        super().__init__()
        self.caps_in: Any = None
        self.caps_out: Any = None
        sink, self._src = (
            Gst.Pad.new_from_template(template, template.name_template) for template in self.__gsttemplates__
        )
        sink.set_chain_function_full(self._chain)
        sink.set_event_function_full(self._event)
        self.add_pad(sink)
        self.add_pad(self._src)
        _object.g_object_ref(hash(self))  # PyGObject has sunk it, and a factory wants to do that itself
        _object.g_object_force_floating(hash(self))

    def convert(self, buffer: int) -> int:
        raise NotImplementedError

    def negotiated(self) -> None:
        """Other caps than before leave."""

    def _event(self, pad: Any, parent: Any, event: Any) -> bool:
        if event.type is not Gst.EventType.CAPS:
            return bool(pad.event_default(parent, event))
        self.caps_in = event.parse_caps()
        out = self._src.get_allowed_caps().fixate()
        missing = [key for key in ("width", "height", "framerate") if not out.get_structure(0).has_field(key)]
        given = self.caps_in.get_structure(0).to_string().rstrip(";").split(", ")
        text = [out.to_string(), *(field for field in given if field.partition("=")[0] in missing)]
        out = Gst.Caps.from_string(", ".join(text))
        if self.caps_out is None or not out.is_equal(self.caps_out):
            self.caps_out = out
            self.negotiated()
        return bool(self._src.push_event(Gst.Event.new_caps(out)))

    def _chain(self, pad: Any, parent: Any, buffer: Any) -> Any:
        out = self.convert(hash(buffer))
        c.Buffer.from_address(out).pts = c.Buffer.from_address(hash(buffer)).pts
        return Gst.FlowReturn(_push(hash(self._src), out))


@contextmanager
def registered(name: str, element: type) -> Iterator[None]:
    """GStreamer has an element of that name, meanwhile."""
    Gst.Element.register(None, name, 0, element)
    try:
        yield
    finally:
        Gst.Registry.get().remove_feature(Gst.ElementFactory.find(name))


property_of = GObject.Property
register_type = GObject.type_register
