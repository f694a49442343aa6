"""The display's loop: hear the core, paint what it said, or that it says nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from edge.display import banner, drawing
from edge.display.drawing import HEIGHT, STAGE, WIDTH, Rect, Scene
from edge.display.wire import Listener, Shown

REPAINT_S = 0.2  # when nothing comes: the clock moves on, and silence is seen
NEVER_HEARD = "Nothing was heard since this window opened. Does the core run, with [display] enabled?"

Pixels = npt.NDArray[np.uint8]


class Screen(Protocol):
    """Where a canvas is painted to; `capture.gst.Screen` is one."""

    @property
    def closed(self) -> bool:
        """Somebody closed the window. Raises EdgeError when it broke."""

    def paint(self, canvas: Any, overlay: str) -> None: ...


class Painter:
    """Remembers the core's last word and last picture; `paint` makes a canvas of them. Owner: one thread."""

    def __init__(self) -> None:
        self._canvas: Pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        self._canvas[:, :, 3] = 255
        self._latest: Shown | None = None
        self._picture: Shown | None = None
        self._rect: Rect | None = None

    def hear(self, shown: Shown) -> None:
        self._latest = shown
        if shown.jpeg:
            self._picture, self._rect = shown, None

    def paint(self, now_ns: int, clock: str) -> tuple[Pixels, str]:
        """(BGRA canvas, valid until the next call; SVG to lay over it)."""
        row = banner.choose(self._latest, now_ns)
        picture = self._picture
        fresh = picture is not None and now_ns - picture.captured_ns <= banner.STALE_NS
        if picture is not None and row.picture and fresh:
            self._draw(picture)
        else:
            self._wipe()
        latest = self._latest
        if latest is None or row is banner.NO_ANSWER:
            return self._canvas, drawing.svg(Scene(row, clock, detail="" if latest else NEVER_HEARD))
        shown = self._rect is not None and picture is not None
        scene = Scene(
            row,
            clock,
            detail="no picture to show here" if row.picture and not shown else latest.detail,
            alerts=latest.alerts,
            boxes=latest.boxes if row.boxes else (),
            field=picture.field if picture is not None and shown else None,
            rect=self._rect,
        )
        return self._canvas, drawing.svg(scene)

    def _draw(self, picture: Shown) -> None:
        """Decodes a picture once; it then stays on the canvas."""
        if self._rect is not None:
            return
        self._wipe()
        pixels = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            return
        x, y, width, height = rect = drawing.place(pixels.shape[1], pixels.shape[0])
        smaller = width < pixels.shape[1]
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        self._canvas[y : y + height, x : x + width, :3] = pixels
        self._rect = rect

    def _wipe(self) -> None:
        self._canvas[:, :STAGE, :3] = 0
        self._rect = None


def run(listener: Listener, screen: Screen, stop: Callable[[], bool]) -> None:
    """Until `stop()` or the window is closed. Raises EdgeError when the screen breaks."""
    painter = Painter()
    while not stop() and not screen.closed:
        for shown in listener.hear(REPAINT_S):
            painter.hear(shown)
        screen.paint(*painter.paint(time.monotonic_ns(), time.strftime("%H:%M:%S")))
