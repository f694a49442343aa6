"""Video4Linux's controls, straight from the kernel's ABI (linux/videodev2.h, 64-bit). One open node, one `Node`.

GStreamer's v4l2src streams; this asks and sets beside it, on a file descriptor of its own: inputs, digital video
timings, events, EDID, formats. Errors are OSError with the driver's errno, which is the answer (see `v4l2.py`).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import time
from collections.abc import Iterator
from typing import NamedTuple

_U8, _U32, _U64 = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64
_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_CAPTURE_MPLANE = 9
CAP_CAPTURE, CAP_CAPTURE_MPLANE, CAP_DEVICE_CAPS = 0x1, 0x1000, 0x80000000
EVENT_SOURCE_CHANGE = 5
STATUS_NO_SIGNAL = 0x1 | 0x2 | 0x40000  # no power, no signal, no carrier
STATUS_NO_LOCK = 0x100 | 0x400 | 0x800 | 0x10000  # horizontal, vertical, standard, sync
STATUS_PROTECTED = 0x1000000 | 0x2000000  # Macrovision, conditional access denied
_DISCRETE = 1
_INTERLACED = 1
_REDUCED_FPS = 0x4  # V4L2_DV_FL_REDUCED_FPS: 60 means 60000/1001
USUAL_RATES = (23.98, 24, 25, 29.97, 30, 47.95, 48, 50, 59.94, 60, 100, 119.88, 120)  # fields or frames a second
EDID_BLOCK = 128


class Capability(ctypes.Structure):
    _fields_ = (
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", _U32),
        ("capabilities", _U32),
        ("device_caps", _U32),
        ("reserved", _U32 * 3),
    )


class Input(ctypes.Structure):
    _fields_ = (
        ("index", _U32),
        ("name", ctypes.c_char * 32),
        ("type", _U32),
        ("audioset", _U32),
        ("tuner", _U32),
        ("std", _U64),
        ("status", _U32),
        ("capabilities", _U32),
        ("reserved", _U32 * 3),
    )


class BtTimings(ctypes.Structure):
    _pack_ = 1
    _fields_ = (
        ("width", _U32),
        ("height", _U32),
        ("interlaced", _U32),
        ("polarities", _U32),
        ("pixelclock", _U64),
        *((name, _U32) for name in ("hfrontporch", "hsync", "hbackporch", "vfrontporch", "vsync", "vbackporch")),
        *((name, _U32) for name in ("il_vfrontporch", "il_vsync", "il_vbackporch", "standards", "flags")),
        ("picture_aspect", _U32 * 2),
        ("cea861_vic", _U8),
        ("hdmi_vic", _U8),
        ("reserved", _U8 * 46),
    )


class DvTimings(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("type", _U32), ("bt", BtTimings), ("reserved", _U8 * 4))


class Event(ctypes.Structure):
    _fields_ = (
        ("type", _U32),
        ("u", _U64 * 8),
        ("pending", _U32),
        ("sequence", _U32),
        ("timestamp", ctypes.c_long * 2),
        ("id", _U32),
        ("reserved", _U32 * 8),
    )


class EventSubscription(ctypes.Structure):
    _fields_ = (("type", _U32), ("id", _U32), ("flags", _U32), ("reserved", _U32 * 5))


class Edid(ctypes.Structure):
    _fields_ = (
        ("pad", _U32),
        ("start_block", _U32),
        ("blocks", _U32),
        ("reserved", _U32 * 5),
        ("edid", ctypes.c_void_p),
    )


class FormatDescription(ctypes.Structure):
    _fields_ = (
        ("index", _U32),
        ("type", _U32),
        ("flags", _U32),
        ("description", ctypes.c_char * 32),
        ("pixelformat", _U32),
        ("mbus_code", _U32),
        ("reserved", _U32 * 3),
    )


class FrameSize(ctypes.Structure):
    """`size`: width, height where discrete; else least, most and step of width, then of height."""

    _fields_ = (("index", _U32), ("pixel_format", _U32), ("type", _U32), ("size", _U32 * 6), ("reserved", _U32 * 2))


class FrameInterval(ctypes.Structure):
    """`interval`: numerator, denominator in seconds where discrete; else least, most and step."""

    _fields_ = (
        ("index", _U32),
        ("pixel_format", _U32),
        ("width", _U32),
        ("height", _U32),
        ("type", _U32),
        ("interval", _U32 * 6),
        ("reserved", _U32 * 2),
    )


def _request(direction: int, number: int, kind: type[ctypes._CData]) -> int:
    """_IOC(direction, 'V', number, sizeof(kind)); direction: 1 to the driver, 2 from it."""
    return direction << 30 | ctypes.sizeof(kind) << 16 | ord("V") << 8 | number


QUERYCAP = _request(2, 0, Capability)
ENUM_FMT = _request(3, 2, FormatDescription)
ENUMINPUT = _request(3, 26, Input)
G_INPUT = _request(2, 38, ctypes.c_int)
S_INPUT = _request(3, 39, ctypes.c_int)
G_EDID = _request(3, 40, Edid)
S_EDID = _request(3, 41, Edid)
ENUM_FRAMESIZES = _request(3, 74, FrameSize)
ENUM_FRAMEINTERVALS = _request(3, 75, FrameInterval)
S_DV_TIMINGS = _request(3, 87, DvTimings)
DQEVENT = _request(2, 89, Event)
SUBSCRIBE_EVENT = _request(1, 90, EventSubscription)
QUERY_DV_TIMINGS = _request(2, 99, DvTimings)


def describe(timings: DvTimings) -> str:
    """As video people say it: "1920x1080p60", "720x576i50" (fields a second)."""
    bt = timings.bt
    rate = frame_rate(timings) * (2 if bt.interlaced & _INTERLACED else 1)
    # Receivers measure the pixel clock, and no two measurements are equal: that is not another format.
    usual = min(USUAL_RATES, key=lambda one: abs(one - rate))
    said = usual if abs(usual - rate) <= 0.002 * rate else round(rate, 1)
    return f"{bt.width}x{bt.height}{'i' if bt.interlaced & _INTERLACED else 'p'}{said:g}"


def frame_rate(timings: DvTimings) -> float:
    """Whole frames a second; 0 where the driver does not know its pixel clock."""
    bt = timings.bt
    across = bt.width + bt.hfrontporch + bt.hsync + bt.hbackporch
    down = bt.height + bt.vfrontporch + bt.vsync + bt.vbackporch
    if bt.interlaced & _INTERLACED:
        down += bt.il_vfrontporch + bt.il_vsync + bt.il_vbackporch
    clock_hz = bt.pixelclock * 1000 / 1001 if bt.flags & _REDUCED_FPS else bt.pixelclock
    return clock_hz / (across * down) if across * down else 0.0


def fourcc(text: str) -> int:
    return int.from_bytes(text.encode("ascii"), "little")


class Mode(NamedTuple):
    """One way in which the device can stream."""

    pixel_format: str  # a V4L2 four-character code
    width: int
    height: int
    fps: float  # the highest


class Node:
    """An open V4L2 node. Owner: one thread. Raises OSError throughout."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLPRI)

    def close(self) -> None:
        os.close(self._fd)

    def _ioctl(self, request: int, argument: ctypes._CData) -> None:
        fcntl.ioctl(self._fd, request, argument)

    def capability(self) -> Capability:
        answer = Capability()
        self._ioctl(QUERYCAP, answer)
        return answer

    def captures(self) -> bool:
        """Whether this node streams pictures in (a grabber has other nodes too, for metadata)."""
        answer = self.capability()
        caps = answer.device_caps if answer.capabilities & CAP_DEVICE_CAPS else answer.capabilities
        return bool(caps & (CAP_CAPTURE | CAP_CAPTURE_MPLANE))

    def input(self) -> Input:
        """The selected input, with its status of this moment."""
        index = ctypes.c_int()
        self._ioctl(G_INPUT, index)
        answer = Input(index=index.value)
        self._ioctl(ENUMINPUT, answer)
        return answer

    def inputs(self) -> list[str]:
        return [one.name.decode(errors="replace") for one in self._listed(ENUMINPUT, Input)]

    def select_input(self, index: int) -> None:
        self._ioctl(S_INPUT, ctypes.c_int(index))

    def query_timings(self) -> DvTimings:
        """What comes over the cable now. ENOLINK, ENOLCK, ERANGE: why nothing does. ENOTTY, ENODATA: cannot say."""
        answer = DvTimings()
        self._ioctl(QUERY_DV_TIMINGS, answer)
        return answer

    def set_timings(self, timings: DvTimings) -> None:
        """EBUSY while anybody streams."""
        self._ioctl(S_DV_TIMINGS, timings)

    def subscribe(self) -> bool:
        """Ask for source changes; False where the driver has no such event."""
        try:
            self._ioctl(SUBSCRIBE_EVENT, EventSubscription(type=EVENT_SOURCE_CHANGE))
        except OSError as exc:
            if exc.errno in (errno.EINVAL, errno.ENOTTY):
                return False
            raise
        return True

    def wait(self, seconds: float) -> bool:
        """True when an event waits, after at most that time. A node in trouble answers at once and has to wait."""
        found = self._poll.poll(seconds * 1e3)
        if found and not found[0][1] & select.POLLPRI:
            time.sleep(min(seconds, 0.01))
            return False
        return bool(found)

    def events(self) -> int:
        """Take all waiting events; how many there were. ENODEV when the device is gone."""
        count = 0
        while self.wait(0):
            try:
                self._ioctl(DQEVENT, Event())
            except OSError as exc:
                if exc.errno in (errno.ENOENT, errno.EAGAIN):
                    break
                raise
            count += 1
        return count

    def edid(self) -> bytes:
        """The EDID that the input shows the tower; empty where it has none. ENOTTY, EINVAL: it cannot have one."""
        asked = Edid()
        try:
            self._ioctl(G_EDID, asked)
        except OSError as exc:
            if exc.errno == errno.ENODATA:
                return b""
            raise
        if asked.blocks == 0:
            return b""
        content = (_U8 * (asked.blocks * EDID_BLOCK))()
        self._ioctl(G_EDID, Edid(blocks=asked.blocks, edid=ctypes.addressof(content)))
        return bytes(content)

    def set_edid(self, edid: bytes) -> None:
        content = (_U8 * len(edid)).from_buffer_copy(edid)
        self._ioctl(S_EDID, Edid(blocks=len(edid) // EDID_BLOCK, edid=ctypes.addressof(content)))

    def modes(self) -> Iterator[Mode]:
        """Every discrete format, size and rate, and the largest of those that come in steps."""
        for kind in (_CAPTURE, _CAPTURE_MPLANE):
            for form in self._listed(ENUM_FMT, FormatDescription, type=kind):
                name = form.pixelformat.to_bytes(4, "little").decode("latin-1")
                for size in self._listed(ENUM_FRAMESIZES, FrameSize, pixel_format=form.pixelformat):
                    width, height = (
                        (size.size[0], size.size[1]) if size.type == _DISCRETE else (size.size[1], size.size[4])
                    )
                    yield Mode(name, width, height, self._fastest(form.pixelformat, width, height))

    def _fastest(self, pixel_format: int, width: int, height: int) -> float:
        listed = self._listed(ENUM_FRAMEINTERVALS, FrameInterval, pixel_format=pixel_format, width=width, height=height)
        return max((one.interval[1] / one.interval[0] for one in listed if one.interval[0]), default=0.0)

    def _listed(self, request: int, kind: type, **constants: int):  # type: ignore[no-untyped-def]
        """An enumeration, until the driver says EINVAL; nothing where it has none (ENOTTY)."""
        for index in range(256):
            entry = kind(index=index, **constants)
            try:
                self._ioctl(request, entry)
            except OSError as exc:
                if exc.errno in (errno.EINVAL, errno.ENOTTY, errno.ENODATA):
                    return
                raise
            yield entry
