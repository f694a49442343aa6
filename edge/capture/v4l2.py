"""HDMI through Video4Linux: CSI bridges, PCIe cards, USB grabbers. What the driver says, and how to read from it.

Drivers of HDMI receivers must not follow a change by themselves: they send SOURCE_CHANGE, and we ask what comes, stop,
set it, and start anew. Drivers that know nothing of all that (USB grabbers) answer ENOTTY, which is no fault: then the
pictures alone tell. Streaming is GStreamer's; its timestamps are the driver's, on the monotonic clock.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edge.capture import edid as edids
from edge.capture import gst
from edge.capture import v4l2_ioctl as ioctl
from edge.capture.evidence import Link
from edge.capture.inputs import Feed, LiveConfig, Reading
from edge.capture.live import LiveSource
from edge.errors import CaptureError
from edge.types import HOST, Memory

log = logging.getLogger(__name__)

LINK_OF = {
    errno.ENOLINK: Link.NO_SIGNAL,
    errno.ENOLCK: Link.UNLOCKED,
    errno.ERANGE: Link.OUT_OF_RANGE,
}
CANNOT_SAY = frozenset({errno.ENOTTY, errno.ENODATA, errno.EINVAL, errno.EOPNOTSUPP})
ASK_EVERY_S = 0.25  # a driver that sends no events; half a second is the most that a loss may take
ASK_ANYWAY_S = 1.0  # ... and one that does
FIRST_PICTURE_S = 2.0
RAW_CODES = ("UYVY", "YUYV", "NV12", "NV16", "YU12", "BGR3", "RGB3", "BGR4", "XR24", "GREY")
FAST_ENOUGH = 24.0  # pictures a second: among modes that reach it the largest is taken, else the fastest
LARGEST = 1920 * 1080


class Config(LiveConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[capture]` with `source = "v4l2"`. Name the device by /dev/v4l/by-path or by-id where there are several."""

    device: Annotated[str, msgspec.Meta(pattern="^/dev/")] = "/dev/video0"
    input: Annotated[int, msgspec.Meta(ge=0, le=63)] | None = None  # default: the one that is selected
    mode: Literal["auto", "raw", "mjpeg"] = "auto"
    width: Annotated[int, msgspec.Meta(ge=32, le=7680)] | None = None  # of devices that offer a choice of sizes
    height: Annotated[int, msgspec.Meta(ge=32, le=4320)] | None = None
    edid: str = "auto"  # "auto": ours where the driver has none; "keep": never touch it; or a file


def open(config: Config, size: tuple[int, int], reads: Sequence[Memory] = HOST) -> LiveSource:
    """`size`: (width, height) of the frames. A device that is not there is a state; a wrong EDID file an error."""
    return LiveSource(Receiver(config), config, size, reads)


class Receiver:
    """See `inputs.Input`. Owner: one thread."""

    first_s = FIRST_PICTURE_S

    def __init__(self, config: Config) -> None:
        self._config = config
        self.name = config.device
        self._edid = _read_edid(config.edid)
        self._node: ioctl.Node | None = None
        self._events = False
        self._reading = Reading(Link.GONE)
        self._refused = ""  # the format that the driver tells of and does not take
        self._ask_at = 0.0

    # ------------------------------------------------------------------------------------ what it says

    def read(self, pipeline: gst.Pipeline | None) -> Reading:  # noqa: ARG002
        """What the cable carries. Asks the driver after an event, and now and then."""
        now = time.monotonic()
        if self._node is None and now < self._ask_at:
            return self._reading
        try:
            opened = self._node is not None
            node = self._open_node()
            if node.events() or now >= self._ask_at or not opened:
                self._reading = self._ask(node)
                self._ask_at = now + (ASK_ANYWAY_S if self._events else ASK_EVERY_S)
        except (CaptureError, OSError) as exc:
            self._lose(exc)
            self._ask_at = now + ASK_EVERY_S
        refused = self._reading.format and self._reading.format == self._refused
        return Reading(Link.OUT_OF_RANGE) if refused else self._reading

    def wait(self, seconds: float) -> None:
        if self._node is None or not self._events:
            time.sleep(seconds)
        else:
            self._node.wait(seconds)

    def _ask(self, node: ioctl.Node) -> Reading:
        status = _status(node)
        if status & ioctl.STATUS_PROTECTED:
            return Reading(Link.PROTECTED)
        try:
            return Reading(Link.LOCKED, ioctl.describe(node.query_timings()))
        except OSError as exc:
            if exc.errno in LINK_OF:
                return Reading(LINK_OF[exc.errno])
            if exc.errno not in CANNOT_SAY:
                raise
        if status & ioctl.STATUS_NO_SIGNAL:
            return Reading(Link.NO_SIGNAL)
        return Reading(Link.UNLOCKED if status & ioctl.STATUS_NO_LOCK else Link.UNKNOWN)

    def _open_node(self) -> ioctl.Node:
        if self._node is not None:
            return self._node
        node = ioctl.Node(self.name)
        try:
            if not node.captures():
                card = node.capability().card.decode(errors="replace")
                raise CaptureError(f"{self.name}: {card} takes no pictures at this node; try its other /dev/video*")
            self._prepare(node)
            self._events = node.subscribe()
        except BaseException:
            node.close()
            raise
        self._node = node
        return node

    def _prepare(self, node: ioctl.Node) -> None:
        """Once for an opened device: its input, and the EDID without which a tower sends nothing."""
        wanted = self._config.input
        if wanted is not None:
            inputs = node.inputs()
            if wanted >= len(inputs):
                listed = ", ".join(f"{number} {name}" for number, name in enumerate(inputs)) or "none"
                raise CaptureError(f"{self.name}: capture.input is {wanted}; it has: {listed}")
            node.select_input(wanted)
        if self._edid is None:
            return
        auto = self._config.edid == "auto"
        try:
            present = node.edid()
            if not present if auto else present != self._edid:  # writing it takes the picture away for a moment
                node.set_edid(self._edid)
                log.info("%s: EDID written (%s)", self.name, edids.name(self._edid) or "without a name")
        except OSError as exc:
            if exc.errno not in CANNOT_SAY or not auto:
                log.warning("%s: the EDID cannot be written: %s", self.name, exc.strerror)

    def _lose(self, exc: CaptureError | OSError) -> None:
        """No device is a state. Anything else comes again when it is opened, and is said then."""
        gone = isinstance(exc, OSError) and exc.errno in (errno.ENODEV, errno.ENXIO, errno.ENOENT)
        self._reading = Reading(Link.GONE if gone else Link.UNKNOWN)
        if self._node is not None and not gone:
            log.warning("%s: the driver answers %s", self.name, exc)
        self.close()

    # -------------------------------------------------------------------------------- how to read from it

    def open(self) -> Feed:
        """Set what comes as what is captured, and say how GStreamer reads it. Raises CaptureError."""
        try:
            return self._feed(self._open_node())
        except OSError as exc:
            busy = ": another program uses it" if exc.errno == errno.EBUSY else ""
            raise CaptureError(f"{self.name}: cannot be set up: {exc.strerror}{busy}") from exc

    def _set(self, node: ioctl.Node, timings: ioctl.DvTimings) -> str:
        """Capture what comes. Some drivers tell of formats that they then refuse: those are out of their range."""
        form = ioctl.describe(timings)
        try:
            node.set_timings(timings)
        except OSError as exc:
            if exc.errno not in (errno.EINVAL, errno.ERANGE):
                raise
            self._refused = form
            raise CaptureError(f"{self.name}: {form} comes, and its driver cannot capture that") from exc
        return form

    def _feed(self, node: ioctl.Node) -> Feed:
        source = "v4l2src name=source"
        properties = {"source": {"device": self.name}}
        try:
            timings = node.query_timings()
        except OSError as exc:
            if exc.errno not in CANNOT_SAY:
                raise
        else:
            form = self._set(node, timings)
            chain = f"{source} ! {_caps(timings)}"
            return Feed(chain, properties, form, ioctl.frame_rate(timings))
        mode = best_mode(list(node.modes()), self._config)
        if mode is None:
            raise CaptureError(f"{self.name}: offers no {_wanted(self._config)} that can be taken")
        size = f"width={mode.width},height={mode.height}"
        chain = f"image/jpeg,{size} ! jpegdec" if mode.pixel_format == "MJPG" else f"video/x-raw,{size}"
        words = f"{mode.width}x{mode.height} {mode.pixel_format} {mode.fps:.4g} fps"
        log.info("%s: takes %s", self.name, words)
        return Feed(f"{source} ! {chain}", properties, "", mode.fps)

    def close(self) -> None:
        node, self._node = self._node, None
        if node is not None:
            node.close()


def _caps(timings: ioctl.DvTimings) -> str:
    """What v4l2src is to take. Left to itself it offers drivers that give single fields (`alternate`) caps without the
    feature that such caps need, and then refuses them: so both forms of an interlaced picture are named."""
    width = timings.bt.width
    if not timings.bt.interlaced:
        return f"video/x-raw,width={width}"
    fields = f"video/x-raw(format:Interlaced),width={width},interlace-mode=alternate"
    woven = f"video/x-raw,width={width},interlace-mode=(string){{interleaved,mixed,progressive}}"
    return f'capsfilter caps="{fields};{woven}"'


def _status(node: ioctl.Node) -> int:
    """Of the selected input; 0 where the driver has no inputs."""
    try:
        return int(node.input().status)
    except OSError as exc:
        if exc.errno not in CANNOT_SAY:
            raise
        return 0


def best_mode(modes: list[ioctl.Mode], config: Config) -> ioctl.Mode | None:
    """The largest that is fast enough and not larger than 1080p; raw pictures before JPEG of the same size."""
    fits = [
        mode
        for mode in modes
        if (mode.pixel_format in RAW_CODES and config.mode != "mjpeg")
        or (mode.pixel_format == "MJPG" and config.mode != "raw")
    ]
    fits = [mode for mode in fits if config.width in (None, mode.width) and config.height in (None, mode.height)]
    if config.width is None and config.height is None:
        fits = [mode for mode in fits if mode.width * mode.height <= LARGEST] or fits

    def worth(mode: ioctl.Mode) -> tuple[bool, float, float, bool]:
        enough = mode.fps >= FAST_ENOUGH
        area = float(mode.width * mode.height)
        return enough, area if enough else mode.fps, mode.fps if enough else area, mode.pixel_format != "MJPG"

    return max(fits, key=worth, default=None)


def _wanted(config: Config) -> str:
    kind = {"auto": "mode", "raw": "raw mode", "mjpeg": "MJPEG mode"}[config.mode]
    sides = {"width": config.width, "height": config.height}
    size = " and ".join(f"{side} {length}" for side, length in sides.items() if length)
    return f"{kind} of {size}" if size else kind


def _read_edid(choice: str) -> bytes | None:
    """What to write; None: nothing. Raises CaptureError."""
    if choice in ("auto", "keep"):
        return edids.default() if choice == "auto" else None
    try:
        content = Path(choice).read_bytes()
    except OSError as exc:
        raise CaptureError(f"capture.edid: {choice}: cannot be read: {os.strerror(exc.errno or 0)}") from exc
    problem = edids.problem(content)
    if problem:
        raise CaptureError(f"capture.edid: {choice}: {problem}")
    return content
