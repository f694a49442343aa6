"""Pictures made worse on purpose, each way at three strengths, the same every time: how much of the Dice is left.

One knob a corruption, mild to hard; a picture's noise depends on its own name alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from calibration.pictures import Picture

STRENGTHS = (1, 2, 3)
Corruption = Callable[[Generator, Picture, Any], Picture]


def _bytes(values: NDArray[Any]) -> Picture:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def blur(_rng: Generator, picture: Picture, sigma: float) -> Picture:
    """Out of focus. `sigma` in hundredths of the height."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma * picture.shape[0] / 100), np.uint8)


def noise(rng: Generator, picture: Picture, deviation: float) -> Picture:
    """A sensor in the dark. `deviation` in levels."""
    return _bytes(picture + rng.normal(0, deviation, picture.shape))


def jpeg(_rng: Generator, picture: Picture, quality: int) -> Picture:
    """A recorder's blocks."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def brightness(_rng: Generator, picture: Picture, gain: float) -> Picture:
    """Less light, or more than the sensor takes."""
    return _bytes(picture * gain)


def contrast(_rng: Generator, picture: Picture, share: float) -> Picture:
    """A fogged lens: drawn towards the picture's own mean."""
    mean = picture.mean((0, 1))
    return _bytes(mean + share * (picture - mean))


def tower(_rng: Generator, picture: Picture, gains: tuple[float, float, float]) -> Picture:
    """Another maker's white balance: gains of R, G, B."""
    return _bytes(picture * np.array(gains))


def vignette(_rng: Generator, picture: Picture, fall: float) -> Picture:
    """Light that falls off towards the corners, where `fall` of it is gone."""
    height, width = picture.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return _bytes(picture * (1 - fall * (x**2 + y**2)[..., None] / 2))


def specular(rng: Generator, picture: Picture, spots: int) -> Picture:
    """The lamp on a wet wall: so many burnt-out spots."""
    height, width = picture.shape[:2]
    light = np.zeros((height, width), np.float32)
    for _ in range(spots):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.uniform(0.01, 0.05) * height), int(rng.uniform(0.005, 0.02) * height))
        cv2.ellipse(light, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(light, (0, 0), max(0.6, height / 200))[..., None]
    return _bytes(picture + (255 - picture.astype(np.float32)) * soft)


def overlay(rng: Generator, picture: Picture, lines: int) -> Picture:
    """A tower's text inside the field."""
    height, width = picture.shape[:2]
    written = picture.copy()
    for _ in range(lines):
        text = "".join(chr(code) for code in rng.integers(48, 91, 14))
        at = (int(rng.uniform(0, 0.5) * width), int(rng.uniform(0.1, 0.95) * height))
        cv2.putText(written, text, at, cv2.FONT_HERSHEY_SIMPLEX, height / 400, (255, 255, 255), 1 + height // 400)
    return written


def low_resolution(_rng: Generator, picture: Picture, lines: int) -> Picture:
    """A feed of so few lines."""
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (max(1, width * lines // height), lines), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


# Name: how, and the knob at strengths 1, 2, 3.
CORRUPTIONS: dict[str, tuple[Corruption, tuple[Any, Any, Any]]] = {
    "blur": (blur, (0.5, 1.0, 2.0)),
    "noise": (noise, (8, 16, 32)),
    "JPEG": (jpeg, (30, 15, 7)),
    "darker": (brightness, (0.7, 0.5, 0.3)),
    "brighter": (brightness, (1.3, 1.6, 2.0)),
    "contrast": (contrast, (0.7, 0.5, 0.3)),
    "tower colour, bluish": (tower, ((0.9, 1.0, 1.1), (0.8, 1.0, 1.25), (0.7, 1.0, 1.4))),
    "tower colour, yellowish": (tower, ((1.05, 1.0, 0.8), (1.1, 1.0, 0.6), (1.15, 1.0, 0.4))),
    "vignette": (vignette, (0.4, 0.65, 0.9)),
    "specular": (specular, (10, 25, 50)),
    "overlay text": (overlay, (2, 5, 10)),
    "low resolution": (low_resolution, (180, 120, 72)),
}


def corrupted(picture: Picture, name: str, corruption: str, strength: int) -> Picture:
    """A worse copy of RGB (H, W, 3). `name` of the picture seeds what is drawn at random."""
    worse, knobs = CORRUPTIONS[corruption]
    rng = np.random.default_rng((zlib.crc32(name.encode()), strength))
    return worse(rng, picture, knobs[strength - 1])
