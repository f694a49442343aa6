"""Real latency of the capture: a counter on this box's own HDMI output, looped into its capture device.

From the moment a number is painted to the moment a frame that shows it is in the core's hands. The screen's own way is
in it (compositor, scan-out), so it is an upper bound of what the capture adds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge.capture import gst, profiles
from edge.cli import display
from tools.on_device import Context, Result, code, failed, passed

TITLE = "capture latency, by a counter that is shown"
LIMIT_S = 120.0
NEEDS_SCREEN = True
SCREEN = (1280, 720)
FRAME = (256, 256)
SECONDS, EVERY_S = 30.0, 1 / 20  # the screen shows a number for three of its own frames
PULL_S = 0.002
SEEN = 0.8  # share of the numbers that have to come through


class Seen(NamedTuple):
    """`latencies_ms`: of each number that was seen, in its order; `backwards`: numbers seen after a later one."""

    shown: int
    latencies_ms: list[float]
    backwards: int


def run(context: Context) -> Result:
    context.need_jetson("a Jetson with its HDMI output looped into its input")
    device = context.options.loop
    if not device:
        context.lacks("--loop DEVICE", "a cable from this box's HDMI output into its capture device, which DEVICE is")
    if not any(sink.wants and os.environ.get(sink.wants) for sink in display.SINKS.values()):
        context.lacks("a desktop session on that output", "DISPLAY and WAYLAND_DISPLAY are not set")
    pipeline = gst.Pipeline(chain(), device, {"camera": {"device": device}})
    screen = gst.Screen(display.chain_of("auto", fullscreen=False), SCREEN, "EndoEdge latency")
    try:
        pipeline.play()
        return judge(measure(lambda picture: screen.paint(picture, _NO_OVERLAY), lambda: _pull(pipeline)))
    finally:
        screen.close()
        pipeline.close()


_NO_OVERLAY = f'<svg width="{SCREEN[0]}" height="{SCREEN[1]}" xmlns="http://www.w3.org/2000/svg"/>'


def chain() -> str:
    """The capture as the product does it, by the Jetson's own converter, into host memory."""
    profile = profiles.choose("jetson")
    width, height = FRAME
    frame = profile.frame.format(width=width, height=height, **profiles.Crop().values())
    mailbox = "appsink name=sink max-buffers=1 drop=true sync=false enable-last-sample=false"
    return f"v4l2src name=camera ! {profile.prepare} ! identity name=tap ! {frame} ! {mailbox}"


def _pull(pipeline: gst.Pipeline) -> npt.NDArray[np.uint8] | None:
    picture = pipeline.pull(PULL_S)
    if picture is None:
        return None
    try:
        return np.array(picture.image)
    finally:
        picture.release()


def measure(
    paint: Callable[[npt.NDArray[np.uint8]], None],
    pull: Callable[[], npt.NDArray[np.uint8] | None],
    clock: Callable[[], float] = time.monotonic,
    seconds: float = SECONDS,
) -> Seen:
    """Paint number after number, and look for them in whatever comes. Both in one thread: neither waits."""
    painted: dict[int, float] = {}
    seen: dict[int, float] = {}
    backwards, newest = 0, -1
    begun = clock()
    while (now := clock()) < begun + seconds:
        number = int((now - begun) / EVERY_S)
        if number not in painted:
            paint(code.draw(number, SCREEN))
            painted[number] = clock()
        picture = pull()
        found = None if picture is None else code.read(picture)
        if found in painted and found not in seen:
            seen[found] = clock()
            backwards += found < newest
            newest = max(newest, found)
    return Seen(len(painted), [(seen[number] - painted[number]) * 1e3 for number in sorted(seen)], backwards)


def judge(seen: Seen) -> Result:
    """It fails where the loop does not show what was painted; how long it takes is what it is."""
    if not seen.latencies_ms:
        return failed(f"none of {seen.shown} numbers came back: does DEVICE show this box's own screen?")
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(seen.latencies_ms, (50, 95, 99)))
    figures = {"p50 ms": p50, "p95 ms": p95, "p99 ms": p99, "shown": seen.shown, "seen": len(seen.latencies_ms)}
    if len(seen.latencies_ms) < SEEN * seen.shown:
        return failed(f"only {len(seen.latencies_ms)} of {seen.shown} numbers came back", **figures)
    if seen.backwards:
        return failed(f"{seen.backwards} numbers came after a later one", **figures)
    return passed(f"{p50:g} ms from paint to frame, 99 of 100 within {p99:g} ms", **figures)
