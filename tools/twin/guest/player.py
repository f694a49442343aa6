"""A clip on the tower's HDMI output: vivid's own output node, looped by the driver to its input."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tools.twin.elsewhere import CHECKOUT
from tools.twin.guest import box
from tools.twin.guest.vivid import OUTPUT

CLIP = CHECKOUT / "twin" / "phantom.mkv"
WIDTH, HEIGHT = 720, 576  # vivid.SD's


@contextlib.contextmanager
def playing(clip: Path = CLIP) -> Iterator[None]:
    """The clip at its own speed, with black around it, over and over."""
    chain = (
        f"filesrc location={clip} ! matroskademux ! h264parse ! avdec_h264 ! videoconvertscale add-borders=true"
        f" ! video/x-raw,format=YUY2,width={WIDTH},height={HEIGHT},pixel-aspect-ratio=1/1 ! v4l2sink device={OUTPUT}"
    )
    loop = ["sh", "-c", 'while :; do "$@" || exit 1; done', "sh", "gst-launch-1.0", "-q", *chain.split()]
    player = subprocess.Popen(loop, start_new_session=True)
    try:
        yield
    finally:
        box.run("pkill", "-g", str(player.pid), check=False)
        player.wait()
