"""The part of GStreamer's C interface that a frame's way goes through: see `gst.py`. Stable ABI of GStreamer 1.x."""

from __future__ import annotations

import ctypes
from typing import Any

_gst = ctypes.CDLL("libgstreamer-1.0.so.0")
_app = ctypes.CDLL("libgstapp-1.0.so.0")
_video = ctypes.CDLL("libgstvideo-1.0.so.0")
_P, _U64 = ctypes.c_void_p, ctypes.c_uint64


class MapInfo(ctypes.Structure):
    _fields_ = (
        ("memory", _P),
        ("flags", ctypes.c_int),
        ("data", _P),
        ("size", ctypes.c_size_t),
        ("maxsize", ctypes.c_size_t),
        ("private", _P * 8),
    )


class Buffer(ctypes.Structure):
    _fields_ = (("mini_object", ctypes.c_byte * 64), ("pool", _P), ("pts", _U64), ("dts", _U64), ("duration", _U64))


class VideoMeta(ctypes.Structure):
    _fields_ = (
        ("meta", _P * 2),
        ("buffer", _P),
        ("flags", ctypes.c_int),
        ("format", ctypes.c_int),
        ("id", ctypes.c_int),
        ("width", ctypes.c_uint),
        ("height", ctypes.c_uint),
        ("n_planes", ctypes.c_uint),
        ("offset", ctypes.c_size_t * 4),
        ("stride", ctypes.c_int * 4),
    )


def _declare(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


try_pull = _declare(_app, "gst_app_sink_try_pull_sample", _P, _P, _U64)
is_eos = _declare(_app, "gst_app_sink_is_eos", ctypes.c_int, _P)
sample_buffer = _declare(_gst, "gst_sample_get_buffer", _P, _P)
sample_segment = _declare(_gst, "gst_sample_get_segment", _P, _P)
running_time = _declare(_gst, "gst_segment_to_running_time", _U64, _P, ctypes.c_int, _U64)
stream_time = _declare(_gst, "gst_segment_to_stream_time", _U64, _P, ctypes.c_int, _U64)
ref = _declare(_gst, "gst_mini_object_ref", _P, _P)
unref = _declare(_gst, "gst_mini_object_unref", None, _P)
copy_deep = _declare(_gst, "gst_buffer_copy_deep", _P, _P)
n_memory = _declare(_gst, "gst_buffer_n_memory", ctypes.c_uint, _P)
peek_memory = _declare(_gst, "gst_buffer_peek_memory", _P, _P, ctypes.c_uint)
map = _declare(_gst, "gst_memory_map", ctypes.c_int, _P, ctypes.POINTER(MapInfo), ctypes.c_int)
unmap = _declare(_gst, "gst_memory_unmap", None, _P, ctypes.POINTER(MapInfo))
video_meta = _declare(_video, "gst_buffer_get_video_meta", ctypes.POINTER(VideoMeta), _P)
pad_caps = _declare(_gst, "gst_pad_get_current_caps", _P, _P)
set_context = _declare(_gst, "gst_element_set_context", None, _P, _P)
new_buffer = _declare(_gst, "gst_buffer_new_allocate", _P, _P, ctypes.c_size_t, _P)
fill = _declare(_gst, "gst_buffer_fill", ctypes.c_size_t, _P, ctypes.c_size_t, _P, ctypes.c_size_t)
push = _declare(_app, "gst_app_src_push_buffer", ctypes.c_int, _P, _P)
