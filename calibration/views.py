"""Pictures as a head sees them in training and when it is judged: corners blackened always, and gently varied.

Gentler than `augment.augmented`: a segmentation stays true under any turn, but a landmark upside down is no landmark.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from calibration import augment
from calibration.augment import Step
from calibration.heads import Head
from calibration.pictures import Picture, without_burnt_in

# Shares of the picture, x0, y0, x1, y1, that hold none of BURNT_IN: in them black corners mean nothing.
UNWRITTEN = ((0.34, 0.0, 1.0, 1.0), (0.06, 0.10, 1.0, 0.64))
CROPPED = 0.25  # share of views that are cut from one of them

# Probability, step. Before a head spoils a picture, and after; the optics only where it does not spoil it itself.
BEFORE: tuple[tuple[float, Step], ...] = ((0.8, augment.colour),)
OPTICS: tuple[tuple[float, Step], ...] = (
    (0.05, augment.glints),
    (0.15, augment.vignette),
    (0.10, augment.blur),
    (0.15, augment.coarsen),
    (0.10, augment.noise),
)
AFTER: tuple[tuple[float, Step], ...] = ((0.25, augment.field), (0.05, augment.lettering), (0.20, augment.compress))


def plain(picture: Picture, side: int) -> Picture:
    """RGB uint8 (H, W, 3) at side x side as it is judged: squashed, corners black."""
    return np.asarray(cv2.resize(without_burnt_in(picture), (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def judged(head: Head, rng: Generator, picture: Picture, label: str, side: int) -> Picture:
    """The picture as `label`, not varied: what a head is judged on."""
    square = plain(picture, side)
    return head.spoil(rng, square, label) if head.spoil else square


def varied(head: Head, rng: Generator, picture: Picture, label: str, side: int) -> Picture:
    """One random view of the picture as `label`: what a head is trained on."""
    square = _moved(rng, _cropped(rng, picture), side, head.flips)
    square = _stepped(rng, square, BEFORE)
    if head.spoil:
        square = head.spoil(rng, square, label)
    return _stepped(rng, square, AFTER if head.spoil else (*OPTICS, *AFTER))


def _cropped(rng: Generator, picture: Picture) -> Picture:
    if rng.random() >= CROPPED:
        return without_burnt_in(picture)
    h, w = picture.shape[:2]
    x0, y0, x1, y1 = UNWRITTEN[int(rng.integers(len(UNWRITTEN)))]
    return picture[int(y0 * h) : int(y1 * h), int(x0 * w) : int(x1 * w)]


def _moved(rng: Generator, picture: Picture, side: int, flips: bool) -> Picture:
    """A little zoom, stretch, turn and shift, any size to side x side."""
    square = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    zoom, stretch = np.exp(rng.uniform(-0.15, 0.2)), np.exp(rng.uniform(-0.08, 0.08))
    angle, flip = rng.normal(0, 0.12), rng.choice((-1.0, 1.0)) if flips else 1.0
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([flip * zoom * stretch, zoom / stretch])
    offset = side / 2 + rng.uniform(-0.05, 0.05, 2) * side - turn @ np.full(2, side / 2)
    return np.asarray(cv2.warpAffine(square, np.column_stack([turn, offset]), (side, side)), np.uint8)


def _stepped(rng: Generator, picture: Picture, steps: tuple[tuple[float, Step], ...]) -> Picture:
    mask = np.zeros(picture.shape[:2], np.uint8)
    for probability, step in steps:
        if rng.random() < probability:
            picture, _ = step(rng, picture, mask)
    return picture
