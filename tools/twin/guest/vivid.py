"""The tower's HDMI output: the kernel's `vivid` driver and its controls, by ioctl (its own, not the box's).

Ioctl numbers and structs: linux/videodev2.h. Controls are found by name, for their ids are vivid's private ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# By its place, as a site should name a grabber: a device that comes back may be another /dev/videoN.
DEVICE, OUTPUT = Path("/dev/v4l/by-path/platform-vivid.0-video-index0"), Path("/dev/video1")
# One instance, one capture node, whose only input is HDMI (input_types: two bits an input, 3 is HDMI).
OPTIONS = ("n_devs=1", "node_types=0x1", "num_inputs=1", "input_types=0x3", "vid_cap_nr=0")
# ... and the same with an HDMI output beside it, of which the input gets the picture.
_OUT = ("num_outputs=1", "output_types=0x1", "vid_out_nr=1")
LOOP = ("n_devs=1", "node_types=0x101", "num_inputs=1", "input_types=0x3", "vid_cap_nr=0", *_OUT)
DRIVER = Path("/sys/bus/platform/drivers/vivid")
INSTANCE = "vivid.0"

_QUERYCTRL, _CTRL, _QUERYMENU = struct.Struct("=II32siiiiI8x"), struct.Struct("=Ii"), struct.Struct("=II32sI")
_VIDIOC_S_CTRL = 0xC008561C
_VIDIOC_G_CTRL = 0xC008561B
_VIDIOC_QUERYCTRL = 0xC0445624
_VIDIOC_QUERYMENU = 0xC02C5625
_NEXT_CTRL = 0x80000000

PRESENT, NO_SIGNAL, NO_LOCK, OUT_OF_RANGE = "Selected DV Timings", "No Signal", "No Lock", "Out of Range"
# As vivid's menu names them. PAL it can send but not capture: its pixel clock is below what vivid takes (14 MHz).
HD, HD_25, SD = "1280x720p60", "1280x720p25", "720x576p50"
FULL_HD, FULL_HD_INTERLACED = "1920x1080p60", "1920x1080i25"
PAL = "720x576i25"
# Pictures as the box has to tell them apart: control → value, over MOVING's. A text with a frame counter and moving
# bars make each picture different from the one before.
MOVING = {"test_pattern": "100% Color Squares", "horizontal_movement": "Move Left Fast", "osd_text_mode": "All"}
STILL = {"test_pattern": "100% Color Squares", "horizontal_movement": "No Movement", "osd_text_mode": "None"}
BARS = {"test_pattern": "75% Colorbar", "horizontal_movement": "No Movement", "osd_text_mode": "None"}
BLACK = {"test_pattern": "100% Black", "horizontal_movement": "No Movement", "osd_text_mode": "None"}
BLUE = {"test_pattern": "100% Blue", "horizontal_movement": "No Movement", "osd_text_mode": "None"}


class Hdmi:
    """The cable and what comes out of it. Every call returns CLOCK_MONOTONIC in ns of just before the driver was told.

    The device node is open only while a control is set: vivid comes back after `vanish` when nobody holds it.
    """

    def load(self, timings: str = HD, picture: dict[str, str] = MOVING, plugged: bool = True) -> None:
        """A fresh driver, so that no scenario inherits another's controls. Nobody may hold the device."""
        _reload(OPTIONS)
        wait_for_path(DEVICE, 20)
        self._set({"dv_timings": timings, "dv_timings_signal_mode": PRESENT if plugged else NO_SIGNAL, **picture})

    def load_looped(self, timings: str = SD) -> None:
        """A fresh driver whose input gets what is played to its output (`player`), with the same timings."""
        _reload(LOOP)
        for node in (DEVICE, OUTPUT):
            wait_for_path(node, 20)
        self._set({"dv_timings": timings, "dv_timings_signal_mode": PRESENT})
        subprocess.run(["v4l2-ctl", "-d", str(DEVICE), "--set-dv-bt-timings=query"], check=True)
        index = self.menu("dv_timings").index(timings)
        subprocess.run(["v4l2-ctl", "-d", str(OUTPUT), f"--set-dv-bt-timings=index={index}"], check=True)
        self._set({"loop_video": ""})

    def pull(self) -> int:
        return self.signal(NO_SIGNAL)

    def plug(self) -> int:
        return self.signal(PRESENT)

    def signal(self, mode: str) -> int:
        """PRESENT, NO_SIGNAL, NO_LOCK or OUT_OF_RANGE, as the receiver chip would report it."""
        return self._set({"dv_timings_signal_mode": mode})

    def timings(self, name: str) -> int:
        """Another resolution comes down the cable, at once."""
        return self._set({"dv_timings": name, "dv_timings_signal_mode": PRESENT})

    def show(self, picture: dict[str, str]) -> int:
        return self._set({**MOVING, **picture})

    def vanish(self) -> int:
        """As a USB grabber whose plug was pulled: every call fails with ENODEV until all handles are closed."""
        return self.press("disconnect")

    def press(self, button: str) -> int:
        """One of vivid's error injections: inject_fatal_streaming_error, inject_vidioc_streamon_error, ..."""
        return self._set({button: ""})

    def unbind(self) -> int:
        """The driver leaves the device, and the node goes."""
        now_ns = time.monotonic_ns()
        (DRIVER / "unbind").write_text(INSTANCE)
        wait_for(lambda: not DEVICE.is_symlink(), f"{DEVICE} to go", 20)  # udev's work
        return now_ns

    def bind(self, timings: str = HD) -> int:
        """Back, perhaps as another /dev/videoN, with a moving picture on the cable."""
        now_ns = time.monotonic_ns()
        (DRIVER / "bind").write_text(INSTANCE)
        wait_for_path(DEVICE, 20)
        self._set({"dv_timings": timings, "dv_timings_signal_mode": PRESENT, **MOVING})
        return now_ns

    def menu(self, control: str) -> list[str]:
        with _opened() as fd:
            return _Controls(fd).menu(control)

    def _set(self, values: dict[str, str]) -> int:
        with _opened() as fd:
            controls = _Controls(fd)
            numbers = [(controls.id(name), controls.value(name, text)) for name, text in values.items()]
            now_ns = time.monotonic_ns()
            for number, value in numbers:
                fcntl.ioctl(fd, _VIDIOC_S_CTRL, _CTRL.pack(number, value))
        return now_ns


class _Controls:
    """One open node's controls, by name."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._found: dict[str, tuple[int, int]] = {}  # name → id, highest value
        number = 0
        with contextlib.suppress(OSError):  # EINVAL after the last one
            while True:
                asked = _QUERYCTRL.pack(number | _NEXT_CTRL, 0, b"", 0, 0, 0, 0, 0)
                number, _, name, _, highest, *_ = _QUERYCTRL.unpack(fcntl.ioctl(fd, _VIDIOC_QUERYCTRL, asked))
                self._found[_plain(name)] = (number, highest)

    def id(self, name: str) -> int:
        if name not in self._found:
            raise LookupError(f"vivid has no control {name}; it has: {', '.join(sorted(self._found))}")
        return self._found[name][0]

    def menu(self, name: str) -> list[str]:
        """Empty for a control that is no menu."""
        number, highest = self.id(name), self._found[name][1]
        texts: list[str] = []
        with contextlib.suppress(OSError):
            for index in range(highest + 1):
                answer = fcntl.ioctl(self._fd, _VIDIOC_QUERYMENU, _QUERYMENU.pack(number, index, b"", 0))
                texts.append(_QUERYMENU.unpack(answer)[2].rstrip(b"\0").decode())
        return texts

    def value(self, name: str, text: str) -> int:
        """A menu's entry by its words; "" presses a button and turns a switch on."""
        if not text:
            return 1
        entries = self.menu(name)
        if text not in entries:
            raise LookupError(f"vivid's {name} has no {text!r}; it has: {', '.join(entries)}")
        return entries.index(text)


def _reload(options: tuple[str, ...]) -> None:
    """udev, which looks at every new node, may hold one for a moment; TimeoutError when somebody stays."""
    wait_for(lambda: subprocess.run(["modprobe", "-r", "vivid"]).returncode == 0, "everybody to let go of vivid", 30)
    subprocess.run(["modprobe", "vivid", *options], check=True)


def _plain(name: bytes) -> str:
    """As v4l2-ctl writes them: "DV Timings Signal Mode" is dv_timings_signal_mode."""
    return re.sub(r"[^a-z0-9]+", "_", name.rstrip(b"\0").decode().lower()).strip("_")


@contextlib.contextmanager
def _opened() -> Iterator[int]:
    fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


def wait_for_path(path: Path, within_s: float) -> None:
    wait_for(path.exists, f"{path} to appear", within_s)


def wait_for(holds: Callable[[], bool], what: str, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within_s:.0f} s for {what}")
        time.sleep(0.02)
