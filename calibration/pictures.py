"""Pictures with masks: decoded, squashed to the square the box sees, what a recorder burnt into them blackened.

Burnt-in text and insets go along with what a picture shows, so a net would learn the label from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError

Picture = NDArray[np.uint8]  # RGB (H, W, 3), or a mask (H, W) of 0 and 255

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
# Where recorders write: x0, y0, x1, y1 as shares of the picture. Text top left and at the left edge, inset bottom left.
BURNT_IN = ((0.0, 0.0, 0.30, 0.10), (0.0, 0.0, 0.06, 1.0), (0.0, 0.64, 0.34, 1.0))


class DatasetError(EdgeError):
    """A data folder is missing, empty, or its pictures and masks do not belong together."""


@dataclass(frozen=True)
class Sample:
    """One picture: RGB uint8 (H, W, 3), its mask uint8 (H, W) of 0 and 255, and where it came from.

    `soft`: a teacher's probability x 255, uint8 (H, W), where one was asked. `answers`: for each of a stage's tasks
    the place of the picture's label in the head's list, -1 where it has none.
    """

    name: str
    picture: Picture
    mask: Picture
    soft: Picture | None = None
    answers: tuple[int, ...] = ()


def _decode(path: Path, flags: int) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(path), flags)
    if pixels is None:
        raise DatasetError(f"{path}: cannot be decoded as a picture")
    return np.asarray(pixels, np.uint8)


def rgb(path: Path) -> Picture:
    """A picture file at full size."""
    return np.asarray(cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def read_pair(picture: Path, mask: Path) -> Sample:
    """Decode one pair at full size; the mask is cut at 128, which undoes a JPEG's or a resize's grey edge."""
    pixels = rgb(picture)
    grey = _decode(mask, cv2.IMREAD_GRAYSCALE)
    if pixels.shape[:2] != grey.shape:
        (h, w), (mh, mw) = pixels.shape[:2], grey.shape
        raise DatasetError(f"{mask}: mask is {mw}×{mh}, its picture {picture.name} is {w}×{h}")
    return Sample(picture.stem, pixels, np.where(grey >= 128, 255, 0).astype(np.uint8))


def squashed(sample: Sample, side: int) -> Sample:
    """The sample at side × side, aspect ignored, as the box sees its field."""
    picture = cv2.resize(sample.picture, (side, side), interpolation=cv2.INTER_AREA)
    mask = cv2.resize(sample.mask, (side, side), interpolation=cv2.INTER_NEAREST_EXACT)
    return Sample(sample.name, np.asarray(picture, np.uint8), np.asarray(mask, np.uint8))


def without_burnt_in(picture: Picture) -> Picture:
    """A copy with the corners that recorders write into blackened."""
    picture = picture.copy()
    h, w = picture.shape[:2]
    for x0, y0, x1, y1 in BURNT_IN:
        picture[int(y0 * h) : int(y1 * h), int(x0 * w) : int(x1 * w)] = 0
    return picture
