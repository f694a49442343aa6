"""GStreamer, the only file that imports it. A `Pipeline` ends in appsinks that our own thread pulls from; a `Screen`
begins with an appsrc that our own thread pushes to.

Building, states and the bus go through PyGObject. The way of a frame goes through ctypes: the field's outside has to
be blackened in place, and neither PyGObject's wrappers nor appsink, which remembers its last sample, leave a buffer
with the single reference that `gst_buffer_map(WRITE)` wants. So the buffer's GstMemory is mapped, whose own lock says
whether any other buffer shares it. `gst_c.py` declares all that; ctypes releases the GIL while it waits. What a mapped
GstMemory of frames holds, pixels or a GPU's address of them, a mapper of `edge/memory` knows.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

# GStreamer brings libunwind, and PyGObject loads it for everybody to see. Its _Unwind_* functions then stand before
# libgcc's, and the first C++ exception in a library loaded later (ONNX Runtime, torch) ends the process. First come
# first served: libgcc goes first.
ctypes.CDLL("libgcc_s.so.1", mode=ctypes.RTLD_GLOBAL)

import gi  # noqa: E402

from edge.capture import gst_c as c  # noqa: E402
from edge.errors import CaptureError, GpuError  # noqa: E402
from edge.memory.host import HostMapper  # noqa: E402
from edge.memory.mapper import READ, Mapper  # noqa: E402
from edge.types import Still  # noqa: E402

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, Gst, GstApp, GstVideo  # noqa: E402, F401  (GstApp registers appsink's type)

log = logging.getLogger(__name__)

CLOSE_WITHIN_S = 3.0
# v4l2src of GStreamer 1.22 forgets one reference to its buffer pool whenever it leaves buffers to the driver
# (`gst_v4l2_object_stop`, mended later), and with it the element, a descriptor of the device and four sockets: after
# some 75 pulled cables a process has none left. Told to take its buffers back first, it forgets nothing.
LEAVES_POOLS, TAKE_BUFFERS_BACK = (1, 22), "GST_V4L2_FORCE_DRAIN"
_TIME = int(Gst.Format.TIME)
_NONE = 2**64 - 1

_HOST = HostMapper()


def _mapped(buffer: int, flags: int) -> c.MapInfo | None:
    mapping = c.MapInfo()
    if c.n_memory(buffer) == 1 and c.map(c.peek_memory(buffer, 0), ctypes.byref(mapping), flags):
        return mapping
    return None


def _known(time_ns: int) -> int:
    return -1 if time_ns == _NONE else time_ns


class Picture(NamedTuple):
    """A mapped buffer: ours alone to read and write until `release()`."""

    image: Any  # what the mapper makes of it
    stream_ns: int  # time in the stream, 0 at its start, -1 when unknown
    running_ns: int  # time since the pipeline started playing, -1 when unknown
    copied: bool  # its memory was shared or in pieces, so it had to be copied
    buffer: int
    mapping: c.MapInfo

    def release(self) -> None:
        """Give it back, once nobody reads it any more. Raises GpuError, and gives it back all the same."""
        try:
            self.image.settle()
        finally:
            c.unmap(self.mapping.memory, ctypes.byref(self.mapping))
            c.unref(self.buffer)


class Size(NamedTuple):
    width: int
    height: int
    description: str  # the caps, for people
    fps: float  # 0 where the caps do not say


def init() -> None:
    """Load GStreamer's registry; harmless when called again."""
    result = Gst.init_check(None)  # (ok, argv), or ok alone where gst-python's overrides are newer
    if not (result[0] if isinstance(result, tuple) else result):
        raise CaptureError("GStreamer cannot start: check GST_PLUGIN_PATH and run gst-inspect-1.0")
    if Gst.version()[:2] == LEAVES_POOLS:
        os.environ[TAKE_BUFFERS_BACK] = "1"


def missing_elements(names: Sequence[str]) -> list[str]:
    """Those of `names` that no installed plugin provides."""
    init()
    return [name for name in names if Gst.ElementFactory.find(name) is None]


def version() -> str:
    return str(Gst.version_string())


FILM_WITHIN_S = 20.0


def write_film(stills: Sequence[Still], path: Path) -> None:
    """JPEGs, each at its own time, as Motion JPEG in Matroska. Blocks until the file is whole. Raises CaptureError."""
    init()
    pipeline = Gst.parse_launch(
        "appsrc name=feed format=time max-bytes=0 ! jpegparse ! matroskamux offset-to-zero=true ! filesink name=file"
    )
    pipeline.get_by_name("file").set_property("location", str(path))
    feed = pipeline.get_by_name("feed")
    feed.set_property("caps", Gst.Caps.from_string("image/jpeg"))
    try:
        pipeline.set_state(Gst.State.PLAYING)
        for still in stills:
            buffer = Gst.Buffer.new_wrapped(still.jpeg)
            buffer.pts = still.media_ns - stills[0].media_ns
            feed.push_buffer(buffer)
        feed.end_of_stream()
        kinds = Gst.MessageType.EOS | Gst.MessageType.ERROR
        message = pipeline.get_bus().timed_pop_filtered(int(FILM_WITHIN_S * Gst.SECOND), kinds)
        if message is None:
            raise CaptureError(f"{path}: the film was not written within {FILM_WITHIN_S:.0f} s")
        if message.type is Gst.MessageType.ERROR:
            raise CaptureError(f"{path}: {message.parse_error()[0].message}")
    finally:
        pipeline.set_state(Gst.State.NULL)


class _Running:
    """What `Pipeline` and `Screen` share: a description comes to life, is listened to, and goes."""

    def __init__(self, description: str, name: str, properties: dict[str, dict[str, Any]] | None = None) -> None:
        init()
        self.name = name
        try:
            self._pipeline = Gst.parse_launch(description)
        except Exception as exc:  # GLib.Error
            raise CaptureError(f"{name}: cannot build the pipeline: {getattr(exc, 'message', exc)}") from exc
        for element, values in (properties or {}).items():
            for key, value in values.items():
                self._element(element).set_property(key, value)
        self._bus = self._pipeline.get_bus()
        self.error: str | None = None
        self._not_found = False  # the error is of that kind: a device, a window that is gone

    def _element(self, name: str) -> Any:
        element = self._pipeline.get_by_name(name)
        if element is None:
            raise CaptureError(f"{self.name}: the pipeline has no element named {name!r}")
        return element

    def poll_error(self) -> str | None:
        """Drain the bus; the first error's text with the element that raised it, remembered for good."""
        while self.error is None:
            message = self._bus.pop_filtered(Gst.MessageType.ERROR)
            if message is None:
                break
            problem, debug = message.parse_error()
            self._not_found = bool(problem.matches(Gst.ResourceError.quark(), Gst.ResourceError.NOT_FOUND))
            # GStreamer's debug text ends in the sentence that says what is wrong: "file.c(7): f (): /path: Reason"
            reason = (debug or "").strip().splitlines()[-1:] or [""]
            self.error = f"{problem.message.rstrip('.')}" + (f" ({reason[0].strip()})" if reason[0] else "")
        return self.error

    def close(self) -> bool:
        """To NULL, on a helper thread: a driver may hang there, and then we go on without it. False when it did."""
        worker = threading.Thread(target=self._pipeline.set_state, args=(Gst.State.NULL,), daemon=True)
        worker.start()
        worker.join(CLOSE_WITHIN_S)
        if worker.is_alive():
            log.error("%s: did not stop within %.0f s; left behind", self.name, CLOSE_WITHIN_S)
            return False
        return True


class Screen(_Running):
    """A canvas that we paint, with SVG over it, in a sink: a window. Owner: one thread, which never waits.

    A canvas that the sink did not take before the next one came is dropped.
    """

    def __init__(self, sink: str, size: tuple[int, int], name: str) -> None:
        """`sink`: a description that takes BGRA. `name`: of the window, and in errors. Raises CaptureError."""
        GLib.set_prgname(name)  # what a window is called
        width, height = size
        self._bytes = width * height * 4
        caps = f"video/x-raw,format=BGRA,width={width},height={height},framerate=25/1"  # or so: each has its time
        canvas = "appsrc name=canvas format=time is-live=true do-timestamp=true max-buffers=1 leaky-type=downstream"
        super().__init__(f"{canvas} caps={caps} ! rsvgoverlay name=overlay ! {sink}", name)
        self._canvas, self._overlay = self._element("canvas"), self._element("overlay")
        if self._pipeline.set_state(Gst.State.PLAYING) == Gst.StateChangeReturn.FAILURE:
            problem = self.poll_error() or "does not start"
            self.close()
            raise CaptureError(f"{name}: {problem}")

    def paint(self, canvas: Any, overlay: str) -> None:
        """`canvas`: contiguous uint8 (H, W, 4) BGRA with `__array_interface__`, copied. `overlay`: SVG of its size."""
        self._overlay.set_property("data", overlay)
        buffer = c.new_buffer(None, self._bytes, None)
        c.fill(buffer, 0, canvas.__array_interface__["data"][0], self._bytes)
        c.push(hash(self._canvas), buffer)

    @property
    def closed(self) -> bool:
        """Somebody closed the window. Raises CaptureError when it broke in another way."""
        if self.poll_error() is not None and not self._not_found:
            raise CaptureError(f"{self.name}: {self.error}")
        return self.error is not None


class Pipeline(_Running):
    """A running `gst-launch` description whose appsink is named `sink` and whose first raw element is named `tap`.

    It may have more appsinks; `pull` takes their names. Everything is called from the thread that made it. `name` is
    what error messages call the source. `mapper`: of the memory that reaches `sink`; all others are host memory.
    """

    def __init__(
        self,
        description: str,
        name: str,
        properties: dict[str, dict[str, Any]] | None = None,
        mapper: Mapper = _HOST,
    ) -> None:
        """Raises CaptureError, GpuError."""
        super().__init__(description, name, properties)
        self._mapper = mapper
        if context := mapper.context():
            c.set_context(hash(self._pipeline), context)
            c.unref(context)
        self._sinks: dict[str, Any] = {}
        self._sink = self._appsink("sink")
        self._tap = self._element("tap").get_static_pad("sink")
        self._tap_ptr = hash(self._tap)
        self._strides: dict[str, tuple[int, int, int]] = {}
        self._format: Any = None

    def _appsink(self, name: str) -> Any:
        """Remembered: its address, which is what the C functions take, is good for as long."""
        if name not in self._sinks:
            self._sinks[name] = self._element(name)
        return self._sinks[name]

    def get(self, element: str, key: str) -> Any:
        """The value of an element's property."""
        return self._element(element).get_property(key)

    def let(self, valve: str, through: bool) -> None:
        """Open or close a `valve` element. (`videorate` would thin out by itself; it aborts where no rate is known.)"""
        self._element(valve).set_property("drop", not through)

    def play(self) -> None:
        self._pipeline.set_state(Gst.State.PLAYING)

    def preroll(self, timeout_s: float) -> bool:
        """Go to PAUSED and wait for the first frame; False on timeout or error (see `poll_error`)."""
        self._pipeline.set_state(Gst.State.PAUSED)
        result, _, _ = self._pipeline.get_state(int(timeout_s * Gst.SECOND))
        return bool(result in (Gst.StateChangeReturn.SUCCESS, Gst.StateChangeReturn.NO_PREROLL))

    def pull_bytes(self, sink: str) -> tuple[bytes, int] | None:
        """A copy of what waits in an appsink of something small, a JPEG, and its running time (-1: unknown)."""
        sample = c.try_pull(hash(self._appsink(sink)), 0)
        if not sample:
            return None
        try:
            buffer, mapping = c.sample_buffer(sample), c.MapInfo()
            pts = int(c.Buffer.from_address(buffer).pts)
            running = int(c.running_time(c.sample_segment(sample), _TIME, pts)) if pts != _NONE else _NONE
            if c.n_memory(buffer) != 1 or not c.map(c.peek_memory(buffer, 0), ctypes.byref(mapping), READ):
                raise CaptureError(f"{self.name}: a buffer of {sink!r} cannot be mapped")
            content = ctypes.string_at(mapping.data, mapping.size)
            c.unmap(mapping.memory, ctypes.byref(mapping))
            return content, _known(running)
        finally:
            c.unref(sample)

    def pull(self, timeout_s: float, sink: str = "sink") -> Picture | None:
        """The next frame, or None after `timeout_s`, at end of stream, and after an error. Raises GpuError."""
        sample = c.try_pull(hash(self._appsink(sink)), max(0, int(timeout_s * 1e9)))
        if not sample:
            return None
        shared = c.sample_buffer(sample)
        pts = int(c.Buffer.from_address(shared).pts)
        segment = c.sample_segment(sample)
        stream = int(c.stream_time(segment, _TIME, pts)) if pts != _NONE else _NONE
        running = int(c.running_time(segment, _TIME, pts)) if pts != _NONE else _NONE
        mapper = self._mapper if sink == "sink" else _HOST
        buffer = c.ref(shared)
        c.unref(sample)
        mapping = _mapped(buffer, mapper.flags)
        copied = mapping is None and isinstance(mapper, HostMapper)  # what lies elsewhere is never copied behind a back
        if copied:
            buffer = c.copy_deep(shared)
            c.unref(shared)
            mapping = _mapped(buffer, mapper.flags)
        if mapping is None:
            c.unref(buffer)
            raise CaptureError(f"{self.name}: a frame's memory cannot be mapped")
        width, height, stride = self._layout(buffer, sink)
        try:
            image = mapper.image(mapping.memory, int(mapping.data), height, width, stride)
        except GpuError:
            c.unmap(mapping.memory, ctypes.byref(mapping))
            c.unref(buffer)
            raise
        return Picture(image, _known(stream), _known(running), copied, buffer, mapping)

    def _layout(self, buffer: int, sink: str) -> tuple[int, int, int]:
        """(width, height, stride) from the buffer's own GstVideoMeta, else from the negotiated caps."""
        meta = c.video_meta(buffer)
        if meta:
            return int(meta.contents.width), int(meta.contents.height), int(meta.contents.stride[0])
        if sink not in self._strides:
            info = GstVideo.VideoInfo.new_from_caps(self._appsink(sink).get_static_pad("sink").get_current_caps())
            self._strides[sink] = (info.width, info.height, info.stride[0])
        return self._strides[sink]

    def close(self) -> bool:
        """With nothing lent."""
        self._mapper.let_go()
        return super().close()

    @property
    def ended(self) -> bool:
        return bool(c.is_eos(hash(self._sink)))

    def source_size(self) -> Size | None:
        """What enters the tap now (None before the first frame), remembered for `format_changed`."""
        caps = self._format = self._tap.get_current_caps()
        if caps is None:
            return None
        structure = caps.get_structure(0)
        width, height = structure.get_value("width"), structure.get_value("height")
        text = f"{width}x{height} {structure.get_value('format')}"
        ok, numerator, denominator = structure.get_fraction("framerate")
        fps = numerator / denominator if ok else 0.0
        if fps:
            text += f" {fps:.4g} fps"
        return Size(int(width), int(height), text, fps)

    def format_changed(self) -> bool:
        """True when other caps entered the tap since `source_size`. Costs about a microsecond: asked at every frame."""
        caps = c.pad_caps(self._tap_ptr)
        if not caps:
            return False
        c.unref(caps)  # the pad keeps its own reference, and `_format` keeps the old one alive: addresses are safe
        return self._format is not None and caps != hash(self._format)

    def duration_ns(self) -> int:
        """The container's own claim, 0 when it makes none."""
        ok, value = self._pipeline.query_duration(Gst.Format.TIME)
        return int(value) if ok and value > 0 else 0

    def expected_frames(self) -> int:
        """From the container's claims of duration and frame rate; 0 when it makes none."""
        ok, numerator, denominator = self._tap.get_current_caps().get_structure(0).get_fraction("framerate")
        return round(self.duration_ns() * numerator / denominator / 1e9) if ok and denominator else 0

    def seek(self, position_ns: int) -> bool:
        """Continue at the first key frame at or after `position_ns`."""
        flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT | Gst.SeekFlags.SNAP_AFTER
        return bool(self._pipeline.seek_simple(Gst.Format.TIME, flags, position_ns))

    def base_time_ns(self) -> int:
        """CLOCK_MONOTONIC when running time was 0."""
        return int(self._pipeline.get_base_time())

    def received(self) -> int:
        """Frames that reached the appsink, handed out or not, since the last flush."""
        stats = self._sink.get_property("stats")
        return int(stats.get_value("rendered")) + int(stats.get_value("dropped"))
