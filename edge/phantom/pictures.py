"""Training pictures: many patients, lights and polyps, each with its exact mask."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.phantom import growth
from edge.phantom.anatomy import FOLDS, PERIOD, Paris, Polyp, Wall
from edge.phantom.effects import draw_bubble
from edge.phantom.optics import SHAPES, Optics
from edge.phantom.renderer import Light, Renderer, Shot
from edge.phantom.tube import Camera

PER_WALL = 24  # a new wall takes seconds, a new camera a fraction of one
SHARES = {Paris.IS: 0.38, Paris.IP: 0.2, Paris.IIA: 0.24, Paris.IIB: 0.08, Paris.IIC: 0.10}

T = TypeVar("T", bound=np.generic)
Picture = tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]
Measured = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]


def training_pictures(seed: int, n: int, width: int = 640, height: int = 512, first: int = 0) -> Iterator[Picture]:
    """Single pictures `first` to n-1, about 70 % with polyps.

    Each is (rgb uint8 (H, W, 3), polyp mask bool (H, W), field bool (H, W)). Picture i depends on `seed` and i alone.
    Outside the field the picture is black: there is no overlay.
    """
    for optics, shot, rgb in _shots(seed, n, width, height, first):
        yield _in_whole(optics, rgb), _in_whole(optics, shot.label > 0), optics.full_mask()


def training_distances(seed: int, n: int, width: int = 640, height: int = 512, first: int = 0) -> Iterator[Measured]:
    """The same pictures, and how far away everything in them is.

    Each is (rgb uint8 (H, W, 3), distance from the lens in tube radii float32 (H, W), field bool (H, W)); the distance
    is 0 outside the field.
    """
    for optics, shot, rgb in _shots(seed, n, width, height, first):
        distance = shot.surface.distance * optics.mask
        yield _in_whole(optics, rgb), _in_whole(optics, distance), optics.full_mask()


def _shots(seed: int, n: int, width: int, height: int, first: int) -> Iterator[tuple[Optics, Shot, NDArray[np.uint8]]]:
    for start in range(first - first % PER_WALL, n, PER_WALL):
        rng = np.random.default_rng((seed, start, 0x7EA))
        wall = Wall(int(rng.integers(1 << 30)), growth.palette(rng), float(rng.uniform(0.2, 0.5)))
        renderers = [Renderer(Optics(width, height, shape), wall) for shape in SHAPES]
        for index in range(max(start, first), min(n, start + PER_WALL)):
            rng = np.random.default_rng((seed, index, 0x91C))
            renderer = renderers[int(rng.random() < 0.3)]
            shot = _shot(rng, renderer)
            yield renderer.optics, shot, _worn(rng, shot.rgb, renderer.optics.mask)


def _shot(rng: np.random.Generator, renderer: Renderer) -> Shot:
    camera_z = float(rng.uniform(0, PERIOD))
    theta = float(rng.uniform(0, math.tau))
    polyps = _polyps(rng, camera_z, theta)
    # Close-ups: the camera leans towards the wall it looks at, as far as the folds there leave room.
    ahead = polyps[0].z - camera_z if polyps else 1.0
    lean = min(float(rng.uniform(-0.3, 0.55)), 0.85 - _tallest_fold(renderer.wall, camera_z))
    target = np.array([(0.9 - lean) * math.cos(theta), (0.9 - lean) * math.sin(theta), ahead])
    follow, spread = rng.uniform(0.1, 1.0), rng.normal(0, 0.18, 2)
    camera = Camera(
        z=camera_z,
        x=lean * math.cos(theta),
        y=lean * math.sin(theta),
        yaw=float(np.clip(follow * math.atan2(target[0], target[2]) + spread[0], -0.85, 0.85)),
        pitch=float(np.clip(follow * math.asin(target[1] / np.linalg.norm(target)) + spread[1], -0.85, 0.85)),
        roll=float(rng.uniform(-math.pi, math.pi)),
        bend=(float(rng.uniform(-0.12, 0.12)), float(rng.uniform(-0.12, 0.12))),
    )
    light = Light(
        exposure=float(rng.uniform(0.34, 0.60) if rng.random() < 0.9 else rng.uniform(0.60, 0.80)),
        balance=(float(rng.uniform(0.94, 1.04)), float(rng.uniform(0.86, 1.06)), float(rng.uniform(0.75, 1.10))),
        gloss=float(rng.uniform(0.2, 1.2)),
    )
    shot = renderer.shoot(camera, polyps, light)
    _sprinkle(rng, shot)
    return shot


def _tallest_fold(wall: Wall, z: float) -> float:
    rows = np.arange(int((z - 0.2) * FOLDS[0] / PERIOD), int((z + 2.5) * FOLDS[0] / PERIOD)) % FOLDS[0]
    return float(wall.inward[rows].max())


def _polyps(rng: np.random.Generator, camera_z: float, theta: float) -> tuple[Polyp, ...]:
    if rng.random() < 0.28:
        return ()
    kinds = list(SHARES)
    count = int(rng.choice((1, 1, 1, 2, 3)))
    made = []
    for number in range(1, count + 1):
        paris = kinds[int(rng.choice(len(kinds), p=list(SHARES.values())))]
        at = theta if number == 1 else float(rng.uniform(0, math.tau))
        ahead = float(rng.triangular(0.3, 0.6, 1.9))
        made.append(growth.polyp(rng, number, paris, at, camera_z + ahead, float(rng.uniform(0.7, 1.7))))
    return tuple(made)


def _sprinkle(rng: np.random.Generator, shot: Shot) -> None:
    """In some pictures, clusters of bubbles on the mucosa: round and glossy, but no polyps."""
    height, width = shot.label.shape
    if rng.random() < 0.6:
        return
    for _ in range(int(rng.integers(1, 4))):
        centre, spread = rng.uniform((0, 0), (width, height)), rng.uniform(0.02, 0.12) * height
        for _ in range(int(rng.integers(1, 14))):
            x, y = rng.normal(centre, spread).tolist()
            radius = float(np.clip(rng.lognormal(2.0, 0.5), 2, 26)) * height / 480
            if 0 <= x < width and 0 <= y < height and not shot.label[int(y), int(x)]:
                draw_bubble(shot.rgb, x, y, radius)


def _worn(rng: np.random.Generator, rgb: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Focus, camera noise: what lies between the mucosa and the file."""
    soft = cv2.GaussianBlur(rgb, (0, 0), float(rng.choice((0.6, 0.9, 1.4, 2.4))))
    noise = rng.normal(0, rng.uniform(0.5, 4.0), rgb.shape[:2]).astype(np.float32)
    noisy = np.clip(soft.astype(np.float32) + noise[..., None], 0, 255) * mask[..., None]
    return np.asarray(noisy, np.uint8)


def _in_whole(optics: Optics, of_field: NDArray[T]) -> NDArray[T]:
    """Something of the field's rectangle, put into the whole picture; 0 around it."""
    x0, y0, x1, y1 = optics.rect
    whole = np.zeros((*optics.size, *of_field.shape[2:]), of_field.dtype)
    whole[y0:y1, x0:x1] = of_field
    return whole
