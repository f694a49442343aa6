"""Stool and its liquid, found by colour and laid into other pictures: a clean bowel becomes a soiled one.

A head that only ever saw whole soiled bowels learns whose bowels they were. Residue in a bowel that was also seen clean
is the one thing that tells the two apart.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from calibration.pictures import Picture

HUES = (14, 50)  # OpenCV's, of 180: yellow, brown, green. Mucosa is redder, bile and blue dye are not in here
LEAST_SATURATION, LEAST_VALUE, MOST_VALUE = 70, 50, 250
DARK = 40  # brightness below which nothing would be seen
SMALLEST = 0.001  # share of the picture that a patch covers at least
SIZES = (0.05, 0.30)  # of a patch's radius, as shares of the picture's width


def residue(picture: Picture) -> NDArray[np.bool_]:
    """RGB uint8 (H, W, 3) to where its colour is residue's (H, W); specks are left out."""
    hue, saturation, value = cv2.split(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV))
    coloured = (hue >= HUES[0]) & (hue <= HUES[1]) & (saturation >= LEAST_SATURATION)
    coloured &= (value >= LEAST_VALUE) & (value <= MOST_VALUE)
    opened = cv2.morphologyEx(coloured.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    return np.asarray(opened > 0)


def soiled(rng: Generator, picture: Picture, donor: Picture) -> Picture | None:
    """`picture` with a patch of the donor's residue at any place, turned, scaled and lit as the place is.

    RGB uint8, any two sizes. None where the donor shows too little, or the patch fell outside the field.
    """
    height, width = picture.shape[:2]
    donor = np.asarray(cv2.resize(donor, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    cut = _patch(rng, residue(donor))
    lit = np.argwhere(picture.max(2) > DARK)
    if cut is None or not len(lit):
        return None
    alpha, centre = cut
    to = lit[rng.integers(len(lit))][::-1]
    scale, angle, flip = np.exp(rng.uniform(-0.4, 0.4)), rng.uniform(-np.pi, np.pi), rng.choice((-1.0, 1.0))
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    turn = np.array([[cos * flip, -sin], [sin * flip, cos]])
    matrix = np.column_stack([turn, to - turn @ centre])
    patch = np.asarray(cv2.warpAffine(donor, matrix, (width, height)), np.float32)
    share = np.asarray(cv2.warpAffine(alpha, matrix, (width, height)), np.float32) * (picture.max(2) > DARK / 3)
    if share.sum() < SMALLEST * share.size:
        return None
    light = cv2.GaussianBlur(picture.mean(2).astype(np.float32), (0, 0), width / 16)
    target = (light + (light * share).sum() / share.sum()) / 2  # half as the place is on the whole, half as each pixel
    gain = np.clip(target * share.sum() / max(float((patch.mean(2) * share).sum()), 1.0), 0.3, 1.6)
    blend = share[..., None]
    return np.asarray(np.clip(picture * (1 - blend) + patch * gain[..., None] * blend, 0, 255), np.uint8)


def _patch(rng: Generator, where: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float64]] | None:
    """An irregular piece of `where`: its opacity (H, W), 0..1, and the point (x, y) it was cut around."""
    height, width = where.shape
    spots = np.argwhere(where)
    if len(spots) < SMALLEST * where.size:
        return None
    y0, x0 = spots[rng.integers(len(spots))]
    radius = np.exp(rng.uniform(*np.log(SIZES))) * width
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.5, 0.5))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    along = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
    across = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
    ragged = cv2.resize(rng.normal(0, 0.3, (7, 7)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    piece = (np.hypot(along * stretch, across / stretch) / radius + ragged < 1) & where
    if piece.mean() < SMALLEST:
        return None
    alpha = cv2.GaussianBlur(piece.astype(np.float32), (0, 0), rng.uniform(0.6, 2.0))
    return np.asarray(alpha, np.float32), np.array([x0, y0], np.float64)
