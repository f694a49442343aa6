"""A screen without a screen: Xvfb, its pixels, and what a person does to a window."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

CLIENT_MESSAGE = 33
Pixels = npt.NDArray[np.uint8]


class Display(NamedTuple):
    name: str  # what DISPLAY says
    frame_buffer: Path

    def pixels(self) -> Pixels:
        """(H, W, 3) BGR. The file is X's own memory, in XWD format: a header in words of 32 bits, colours, pixels."""
        raw = np.fromfile(self.frame_buffer, np.uint8)
        header = raw[:100].view(">u4")
        size, width, height, stride, colours = (int(header[word]) for word in (0, 4, 5, 12, 19))
        begin = size + colours * 12
        rows = raw[begin : begin + stride * height].reshape(height, stride)
        return np.ascontiguousarray(rows[:, : width * 4].reshape(height, width, 4)[:, :, :3])


def missing() -> str:
    """What keeps these tests from running, or ""."""
    if shutil.which("Xvfb") is None:
        return "Xvfb is not installed (apt-get install xvfb)"
    try:
        ctypes.CDLL("libX11.so.6")
    except OSError:
        return "libX11 is not installed (apt-get install gstreamer1.0-x)"
    return ""


@contextmanager
def screen(folder: Path, width: int = 1366, height: int = 768) -> Iterator[Display]:
    """An X server of our own, without a window manager; it picks a free number."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-fbdir", str(folder), "-screen", "0", f"{width}x{height}x24"]
    with (folder / "xvfb.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "-nolisten", "tcp", "-noreset"], pass_fds=[writing], stdout=log, stderr=log
        )
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], 30)
        number = os.read(reading, 16).decode().strip() if ready else ""
        assert number, f"Xvfb did not start: {(folder / 'xvfb.log').read_text()}"
        yield Display(f":{number}", folder / "Xvfb_screen0")
    finally:
        os.close(reading)
        server.kill()
        server.wait()


class _ClientMessage(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("room_for_any_event", ctypes.c_long * 24),
    )


@contextmanager
def _connected(display: Display) -> Iterator[tuple[Any, ctypes.c_void_p, list[int]]]:
    """libX11, a connection, and the windows on its screen."""
    x = ctypes.CDLL("libX11.so.6")
    x.XOpenDisplay.restype, x.XOpenDisplay.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    x.XDefaultRootWindow.restype, x.XDefaultRootWindow.argtypes = ctypes.c_ulong, [ctypes.c_void_p]
    x.XInternAtom.restype, x.XInternAtom.argtypes = ctypes.c_ulong, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    connection = ctypes.c_void_p(x.XOpenDisplay(display.name.encode()))
    assert connection.value, f"no X server at {display.name}"
    root, parent, count = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_uint()
    children = ctypes.POINTER(ctypes.c_ulong)()
    x.XQueryTree(
        connection,
        ctypes.c_ulong(x.XDefaultRootWindow(connection)),
        *(ctypes.byref(thing) for thing in (root, parent, children, count)),
    )
    try:
        yield x, connection, [children[index] for index in range(count.value)]
    finally:
        x.XCloseDisplay(connection)


def close_window(display: Display) -> None:
    """What the cross in a window's corner does: ask it politely."""
    with _connected(display) as (x, connection, [window]):
        message = _ClientMessage(type=CLIENT_MESSAGE, window=window, format=32)
        message.message_type = x.XInternAtom(connection, b"WM_PROTOCOLS", 0)
        message.data[0] = x.XInternAtom(connection, b"WM_DELETE_WINDOW", 0)
        x.XSendEvent(connection, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(message))
        x.XSync(connection, 0)


def resize_window(display: Display, width: int, height: int) -> None:
    with _connected(display) as (x, connection, [window]):
        x.XResizeWindow(connection, ctypes.c_ulong(window), ctypes.c_uint(width), ctypes.c_uint(height))
        x.XSync(connection, 0)
