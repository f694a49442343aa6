"""Which GstMemory was freed since the last question. No Python runs where it is freed: a queue of GLib's keeps note."""

from __future__ import annotations

import ctypes

_P = ctypes.c_void_p


class Freed:
    """Owner: one thread, which asks; memory may be freed on any.

    A weak reference of GStreamer's calls `f(data, object)` when its object is freed. `g_async_queue_push(queue, data)`
    has just that form, so the queue is the data, and the object's address is what is pushed.
    """

    def __init__(self) -> None:
        glib, gst = ctypes.CDLL("libglib-2.0.so.0"), ctypes.CDLL("libgstreamer-1.0.so.0")
        glib.g_async_queue_new.restype = _P
        glib.g_async_queue_try_pop.argtypes, glib.g_async_queue_try_pop.restype = (_P,), _P
        glib.g_async_queue_unref.argtypes, glib.g_async_queue_unref.restype = (_P,), None
        for function in (gst.gst_mini_object_weak_ref, gst.gst_mini_object_weak_unref):
            function.argtypes, function.restype = (_P, _P, _P), None
        self._glib, self._gst = glib, gst
        self._note = ctypes.cast(glib.g_async_queue_push, _P)
        self._queue = glib.g_async_queue_new()

    def watch(self, memory: int) -> None:
        """From now on, until it is freed or unwatched. `memory`: the address of a living GstMemory."""
        self._gst.gst_mini_object_weak_ref(memory, self._note, self._queue)

    def unwatch(self, memory: int) -> None:
        """Of living memory alone."""
        self._gst.gst_mini_object_weak_unref(memory, self._note, self._queue)

    def take(self) -> set[int]:
        """Addresses of what was freed; they may be something else's by now."""
        gone = set()
        while memory := self._glib.g_async_queue_try_pop(self._queue):
            gone.add(int(memory))
        return gone

    def close(self) -> None:
        """After everything was unwatched, or freed."""
        queue, self._queue = self._queue, None
        if queue is not None:
            self._glib.g_async_queue_unref(queue)
