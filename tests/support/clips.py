"""Little videos, made on the spot by GStreamer's own encoders."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

Frames = Iterable[npt.NDArray[np.uint8]]

MUCOSA = (190, 110, 85)
GREEN = (40, 230, 40)  # what the test model calls a polyp


def encode(
    frames: Frames, path: Path, fps: int = 25, encoder: str = "", muxer: str = "matroskamux", raw: str = ""
) -> Path:
    """RGB uint8 (H, W, 3) frames, all of one size. `raw`: caps that the encoder is to be given."""
    pictures = list(frames)
    height, width, _ = pictures[0].shape
    chain = encoder or "x264enc pass=quant quantizer=4 speed-preset=ultrafast key-int-max=5 bframes=0 ! h264parse"
    launch(
        f"fdsrc ! rawvideoparse format=rgbx width={width} height={height} framerate={fps}/1 ! videoconvert"
        f" {'! ' + raw if raw else ''} ! {chain} ! {muxer} ! filesink location={path}",
        b"".join(np.dstack([picture, picture[:, :, :1]]).tobytes() for picture in pictures),
    )
    return path


def launch(description: str, standard_input: bytes = b"") -> None:
    """gst-launch-1.0 until the stream ends."""
    done = subprocess.run(
        ["gst-launch-1.0", "-q", "-e", *description.split()],
        input=standard_input,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def plain(count: int, width: int = 160, height: int = 128, colour: tuple[int, int, int] = MUCOSA) -> Frames:
    return [np.full((height, width, 3), colour, np.uint8) for _ in range(count)]


def with_field(
    count: int, width: int = 200, height: int = 160, polyp_from: int = 10**9, polyp_to: int = 10**9
) -> list[npt.NDArray[np.uint8]]:
    """A textured round field on black, "overlay" bars at the left edge, and a green spot from..to."""
    y, x = np.mgrid[0:height, 0:width]
    inside = (x - width * 0.55) ** 2 + (y - height / 2) ** 2 < (height * 0.45) ** 2
    spot = (x - width * 0.6) ** 2 + (y - height * 0.45) ** 2 < (height * 0.12) ** 2
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(-14, 15, (height // 4 + 1, width // 4 + 1)), np.ones((4, 4)))[:height, :width]
    frames = []
    for number in range(count):
        picture = np.zeros((height, width, 3), np.uint8)
        picture[inside] = np.clip(np.array(MUCOSA) + texture[inside][:, None], 0, 255)
        if polyp_from <= number < polyp_to:
            picture[spot & inside] = GREEN
        picture[6:9, 4:24] = 255  # a "name"
        picture[14:16, 4:30] = 200
        frames.append(picture)
    return frames
