"""Finds the endoscope's picture inside the tower's picture: round, octagonal, or the whole frame. Pure.

The tower writes the patient's name and the date beside that field, so what lies outside is blackened before anything
looks at the frame. Found from several frames at once: a pixel belongs to the field when it was lit in any of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge.types import Field

U8 = npt.NDArray[np.uint8]

LIT = 26  # luma above video black and its coding noise
TEXT_SHARE = 0.045  # of the picture's height: strokes thinner than this are overlay, not field
SMALLEST_SHARE = 0.15  # of the picture's area: less is no field
SOLID = 0.85  # region area / hull area: a field is convex; less is an unknown layout
INSET_PX = 1.0  # at probe size: the soft edge belongs to neither side


def whole(width: int, height: int) -> Field:
    """The field of a source without a border."""
    outline = ((0.0, 0.0), (float(width), 0.0), (float(width), float(height)), (0.0, float(height)))
    return Field(x=0, y=0, width=width, height=height, outline=outline)


def problem(corners: Sequence[tuple[float, float]], width: int, height: int) -> str:
    """Why these corners cannot be a field of a `width` x `height` px picture, or ""."""
    inside = all(0 <= x <= width and 0 <= y <= height for x, y in corners)
    good = len(corners) >= 3 and inside
    return "" if good else f"expected at least 3 corners within {width}x{height}, got {corners}"


def fixed(corners: Sequence[tuple[float, float]]) -> Field:
    """The field with these corners, in source pixels."""
    (x0, y0), (x1, y1) = np.floor(np.min(corners, axis=0)), np.ceil(np.max(corners, axis=0))
    return Field(x=int(x0), y=int(y0), width=int(x1 - x0), height=int(y1 - y0), outline=tuple(corners))


def describe(field: Field) -> str:
    return f"{field.width}x{field.height}+{field.x}+{field.y}, {len(field.outline)} corners"


def _solid(luma: U8) -> U8:
    """1 where something larger than the tower's text is lit."""
    stroke = max(3, int(luma.shape[0] * TEXT_SHARE) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (stroke, stroke))
    bright = np.pad((luma > LIT).astype(np.uint8), stroke, mode="edge")
    return np.asarray(cv2.morphologyEx(bright, cv2.MORPH_OPEN, kernel)[stroke:-stroke, stroke:-stroke], np.uint8)


def lit(luma: U8) -> U8:
    """`_solid` of one luma picture, noise smoothed away: uint8 (h, w), 0 or 1."""
    return _solid(np.asarray(cv2.GaussianBlur(luma, (5, 5), 0), np.uint8))


def inside(field: Field, width: int, height: int, shape: tuple[int, ...]) -> U8:
    """uint8 `shape`, 1 inside the outline of the field of a `width` x `height` px picture."""
    scale = np.array([shape[1] / width, shape[0] / height])
    mask = np.zeros(shape, np.uint8)
    # fillConvexPoly takes fixed-point pixel centres, hence the half pixel.
    cv2.fillConvexPoly(mask, np.round((np.array(field.outline) * scale - 0.5) * 256).astype(np.int32), 1, shift=8)
    return mask


def overlap(one: Field, other: Field) -> float:
    """Intersection over union of two fields' outlines, 0..1."""
    right, low = (max(f.x + f.width for f in (one, other)), max(f.y + f.height for f in (one, other)))
    masks = [inside(f, right, low, (256, 256)) for f in (one, other)]
    return float(np.minimum(*masks).sum() / max(1, np.maximum(*masks).sum()))


def find(frames: Sequence[U8], width: int, height: int) -> Field | None:
    """`frames`: luma pictures, all of one (h, w), of a `width` x `height` px source. None: nothing like a field."""
    brightest = np.maximum.reduce([cv2.GaussianBlur(frame, (5, 5), 0) for frame in frames])
    h, w = brightest.shape
    regions = _solid(brightest)
    outlines, _ = cv2.findContours(regions, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return None
    region = max(outlines, key=cv2.contourArea)
    hull = cv2.convexHull(region)
    area = cv2.contourArea(hull)
    if area < SMALLEST_SHARE * w * h or cv2.contourArea(region) < SOLID * area:
        return None
    polygon = cv2.approxPolyDP(hull, 0.004 * cv2.arcLength(hull, True), True)[:, 0, :].astype(np.float64)
    return _from_polygon(polygon, (w, h), width, height)


def _from_polygon(polygon: npt.NDArray[np.float64], probe: tuple[int, int], width: int, height: int) -> Field:
    """A polygon of pixel indices at probe size becomes a field in source pixels; edges on the border stay there."""
    size = np.array(probe, dtype=np.float64)
    low, high = polygon <= 1, polygon >= size - 2
    centre = polygon.mean(axis=0)
    inward = np.sign(centre - polygon) * INSET_PX
    points = np.where(low, 0.0, np.where(high, size, polygon + 0.5 + inward))
    points = points / size * np.array([width, height])
    (x0, y0), (x1, y1) = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    return Field(
        x=int(x0),
        y=int(y0),
        width=int(x1 - x0),
        height=int(y1 - y0),
        outline=tuple((float(x), float(y)) for x, y in points),
    )


def keep_mask(field: Field, width: int, height: int) -> npt.NDArray[np.uint32]:
    """uint32 (height, width), 0xFFFFFFFF inside the field's outline when its rectangle is scaled to that size."""
    moved = Field(
        x=0,
        y=0,
        width=field.width,
        height=field.height,
        outline=tuple((x - field.x, y - field.y) for x, y in field.outline),
    )
    mask = inside(moved, field.width, field.height, (height, width))
    return np.where(mask > 0, np.uint32(0xFFFFFFFF), np.uint32(0)).astype(np.uint32)
