"""A window with the endoscope's picture, the boxes on it, and one word that says how the box is.

It listens to the core and nothing else: close it, kill it, let it hang, and the core does not notice. It lags behind
the tower and is not for steering the endoscope; docs/display.md says how it may be connected.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path
from typing import NamedTuple

import cv2

from edge import config
from edge.capture import gst
from edge.config import SiteConfig
from edge.display import drawing, window, wire
from edge.errors import DisplayError, UsageError

HELP = "a window: the picture, the boxes, and how the box is"
LESS_URGENT = 10  # nice: the core shares the processor with it
_SCALE = "videoscale ! videoconvert"


class _Sink(NamedTuple):
    chain: str  # of GStreamer elements; the last is the sink
    wants: str = ""  # the environment variable without which it cannot work
    fullscreen: str | None = None  # what is added for that; None: it cannot

    @property
    def elements(self) -> list[str]:
        return ["appsrc", "rsvgoverlay", *(piece.split()[0] for piece in self.chain.split(" ! "))]


SINKS = {
    "waylandsink": _Sink(f"{_SCALE} ! waylandsink sync=false qos=false", "WAYLAND_DISPLAY", " fullscreen=true"),
    "ximagesink": _Sink(f"{_SCALE} ! ximagesink sync=false qos=false", "DISPLAY"),
    "kmssink": _Sink(f"{_SCALE} ! kmssink sync=false qos=false", fullscreen=""),
}
_SNAPSHOTS = (  # multifilesink replaces the file, so that readers never see half of one; "%" is its counter
    "videorate drop-only=true max-rate=2 ! videoconvert ! pngenc compression-level=1"
    ' ! multifilesink async=false sync=false location="{path}"'
)
_WHERE = {
    "appsrc": "gstreamer1.0-plugins-base",
    "ximagesink": "gstreamer1.0-x",
    "rsvgoverlay": "gstreamer1.0-plugins-bad",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, default=Path("/etc/endoedge/endoedge.toml"), metavar="FILE")
    parser.add_argument(
        "--sink",
        default="auto",
        metavar="SINK",
        help=f"{', '.join(SINKS)}, or png:FILE (twice a second, without a screen); default: what this session has",
    )
    parser.add_argument("--fullscreen", action="store_true", help="with waylandsink and kmssink")


def main(options: argparse.Namespace) -> int:
    """0 when the window was closed or somebody asked to stop."""
    run_dir = options.config.resolve().parent / config.decode_toml(options.config, SiteConfig).run_dir
    sink = chain_of(options.sink, options.fullscreen)
    listener = wire.Listener(run_dir / wire.NAME)
    try:
        screen = gst.Screen(sink, (drawing.WIDTH, drawing.HEIGHT), "EndoEdge display")
        try:
            _until_told(listener, screen)
        finally:
            screen.close()
    finally:
        listener.close()
    return 0


def _until_told(listener: wire.Listener, screen: gst.Screen) -> None:
    cv2.setNumThreads(1)
    os.nice(LESS_URGENT)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    window.run(listener, screen, stop.is_set)


def chain_of(name: str, fullscreen: bool) -> str:
    """A checked description for `gst.Screen`."""
    if name.startswith("png:"):
        sink = _snapshots(Path(name[4:]).resolve())
    else:
        name = _present() if name == "auto" else name
        if name not in SINKS:
            raise UsageError(f"--sink is {name!r}; one of {', '.join(SINKS)}, png:FILE")
        sink = SINKS[name]
    if sink.wants and not os.environ.get(sink.wants):
        raise DisplayError(f"--sink {name} needs {sink.wants} in the environment: start it within a desktop session")
    missing = gst.missing_elements(sink.elements)
    if missing:
        packages = ", ".join(_WHERE.get(element, "gstreamer1.0-plugins-good or -bad") for element in missing)
        raise DisplayError(f"--sink {name} needs GStreamer's {', '.join(missing)}: install {packages}")
    if fullscreen and sink.fullscreen is None:
        able = ", ".join(other for other, known in SINKS.items() if known.fullscreen is not None)
        raise UsageError(f"--fullscreen: {name} cannot; these can: {able}")
    return sink.chain + (sink.fullscreen or "" if fullscreen else "")


def _snapshots(file: Path) -> _Sink:
    if not file.parent.is_dir():
        raise UsageError(f"--sink png:{file}: there is no folder {file.parent}")
    return _Sink(_SNAPSHOTS.format(path=str(file).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')))


def _present() -> str:
    """The first sink whose session this process is in. autovideosink is no help: without any, it shows nothing."""
    for name, sink in SINKS.items():
        if sink.wants and os.environ.get(sink.wants):
            return name
    raise DisplayError("there is no screen (DISPLAY and WAYLAND_DISPLAY are not set): --sink kmssink or png:FILE")
