"""The tower's picture: the field's outline inside it and one viewing ray per pixel."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.phantom.noise import Plane, plane

Outline = tuple[tuple[float, float], ...]
HALF_ANGLE = math.radians(70)  # a colonoscope sees about 140 degrees across the diagonal


def octagon(width: int, height: int) -> Outline:
    """An Olympus-like field: a square with cut corners, to the right of the tower's text."""
    side = 0.94 * height
    x0, y0 = width - side - 0.02 * width, (height - side) / 2
    x1, y1, cut = x0 + side, y0 + side, 0.21 * side
    return (
        (x0 + cut, y0), (x1 - cut, y0), (x1, y0 + cut), (x1, y1 - cut),
        (x1 - cut, y1), (x0 + cut, y1), (x0, y1 - cut), (x0, y0 + cut),
    )  # fmt: skip


def round_flat(width: int, height: int) -> Outline:
    """A Fujifilm-like field: a disc with flat top and bottom."""
    radius, flat = 0.5 * height, 0.44 * height
    cx, cy = width - radius - 0.02 * width, height / 2
    steps = np.linspace(0, math.tau, 72, endpoint=False)
    return tuple(
        (float(cx + radius * math.cos(t)), float(cy + min(flat, max(-flat, radius * math.sin(t))))) for t in steps
    )


SHAPES = {"octagon": octagon, "round": round_flat}


class Optics:
    """Geometry that does not change within a clip.

    `outline` in picture pixels; `rect` its bounding (x0, y0, x1, y1); `mask` uint8 0/1 of rect's size, and
    `rays` float32 rect + (3,): unit viewing directions (x right, y down, z ahead) of an equidistant lens.
    `vignette` float32: the lens' own loss of light towards the rim.
    """

    def __init__(self, width: int, height: int, shape: str) -> None:
        self.size = (height, width)
        self.outline = SHAPES[shape](width, height)
        points = np.array(self.outline)
        low, high = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int)
        self.rect = (int(low[0]), int(low[1]), int(min(high[0], width)), int(min(high[1], height)))
        x0, y0, x1, y1 = self.rect
        self.mask: NDArray[np.uint8] = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(self.mask, [np.round(points - low).astype(np.int32)], (1,))
        centre = points.mean(0) - low
        reach = np.hypot(*(points - low - centre).T).max()
        self.pixels_per_radian = float(reach / HALF_ANGLE)
        yy, xx = np.mgrid[0 : y1 - y0, 0 : x1 - x0].astype(np.float32)
        xx, yy = (xx - np.float32(centre[0])) / reach, (yy - np.float32(centre[1])) / reach
        radius = np.hypot(xx, yy)
        angle = radius * np.float32(HALF_ANGLE)
        scale = np.sin(angle) / np.maximum(radius, 1e-6)
        self.rays: Plane = np.dstack([xx * scale, yy * scale, np.cos(angle)]).astype(np.float32)
        self.vignette: Plane = (1 - 0.28 * np.clip(radius, 0, 1.2) ** 2.5).astype(np.float32)
        self._centre = centre

    def project(self, points: Plane) -> Plane:
        """Pixel (x, y) in `rect` where the camera sees `points` (N, 3; x right, y down, z ahead); float32 (N, 2)."""
        off_axis = np.maximum(np.hypot(points[:, 0], points[:, 1]), 1e-9)
        reach = np.arctan2(off_axis, points[:, 2]) * self.pixels_per_radian
        at = np.stack([points[:, 0] / off_axis * reach, points[:, 1] / off_axis * reach], axis=1)
        return plane(at + self._centre)

    def full_mask(self) -> NDArray[np.bool_]:
        """The field as a bool array of the whole picture."""
        full = np.zeros(self.size, bool)
        x0, y0, x1, y1 = self.rect
        full[y0:y1, x0:x1] = self.mask > 0
        return full
