"""Seamless noise and vessels: the raw material of the mucosa. Everything here repeats in both directions."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def plane(values: Any) -> Plane:
    """What OpenCV returned, known to be float32 (its own annotations say "some number")."""
    return np.asarray(values, np.float32)


def split(picture: Any) -> list[Plane]:
    """The float32 channels of a picture as contiguous planes."""
    return [plane(channel) for channel in cv2.split(picture)]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Plane:
    """One octave of seamless noise, float32 `shape`, about -1..1; `cells` lumps along each side divide it."""
    grid = np.pad(rng.uniform(-1.4, 1.4, cells).astype(np.float32), 3, mode="wrap")
    rows, columns = shape[0] // cells[0], shape[1] // cells[1]
    size = (grid.shape[1] * columns, grid.shape[0] * rows)
    wide = plane(cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC))
    return wide[3 * rows : 3 * rows + shape[0], 3 * columns : 3 * columns + shape[1]]


def fractal_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int], octaves: int, gain: float = 0.5
) -> Plane:
    """`octaves` of `smooth_noise`, each twice as fine and `gain` as strong; about -1..1."""
    total = np.zeros(shape, np.float32)
    weight, norm = 1.0, 0.0
    for octave in range(octaves):
        total += weight * smooth_noise(rng, shape, (cells[0] << octave, cells[1] << octave))
        norm += weight
        weight *= gain
    return total / np.float32(norm)


def vessels(rng: np.random.Generator, shape: tuple[int, int], trees: int) -> Plane:
    """Branching submucosal vessels, float32 0..1 (1 = centre of a thick vessel), seamless."""
    margin = 400
    canvas = np.zeros((shape[0] + 2 * margin, shape[1] + 2 * margin), np.uint8)
    for _ in range(trees):
        start = rng.uniform((margin, margin), (canvas.shape[1] - margin, canvas.shape[0] - margin))
        _grow(rng, canvas, start, rng.uniform(0, math.tau), float(rng.uniform(2.5, 5.0)))
    for axis in (0, 1):  # what grew over the edge comes back on the other side
        canvas = np.moveaxis(canvas, axis, 0)
        core = canvas[margin:-margin].copy()
        core[-margin:] = np.maximum(core[-margin:], canvas[:margin])
        core[:margin] = np.maximum(core[:margin], canvas[-margin:])
        canvas = np.moveaxis(core, 0, axis)
    return plane(cv2.GaussianBlur(canvas, (0, 0), 1.1)) / np.float32(255)


def _grow(
    rng: np.random.Generator, canvas: NDArray[np.uint8], at: NDArray[np.float64], heading: float, width: float
) -> None:
    """Draw one vessel from `at` (x, y) until it is thinner than a pixel; side branches grow from it."""
    steps = int(20 + 12 * width)
    for _ in range(steps):
        heading += float(rng.normal(0, 0.22))
        after = at + 7.0 * np.array([math.cos(heading), math.sin(heading)])
        shade = int(min(255, 90 + 38 * width))
        cv2.line(canvas, _pixel(at), _pixel(after), (shade,), max(1, round(width)), cv2.LINE_AA)
        at, width = after, width * 0.985
        if width > 1.2 and rng.random() < 0.09:
            side = heading + float(rng.choice((-1, 1)) * rng.uniform(0.5, 1.1))
            _grow(rng, canvas, at, side, width * float(rng.uniform(0.5, 0.75)))


def _pixel(at: NDArray[np.float64]) -> tuple[int, int]:
    return int(at[0]), int(at[1])
