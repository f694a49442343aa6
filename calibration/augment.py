"""What a tower, a scope and a colon may do to a picture: random geometry, colour, optics, and things in the way.

Every step draws from the one generator it is given, so a sample is a pure function of (seed, epoch, index).
Steps work on RGB uint8 (S, S, 3) and a mask uint8 (S, S), or (S, S, 2) where a teacher's soft mask comes with the true
one: what moves or covers one does the same to the other. They may write in place (they own the warped copy).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from calibration.pictures import Picture, without_burnt_in

Pair = tuple[Picture, Picture]
Step = Callable[[Generator, Picture, Picture], Pair]


@dataclass(frozen=True)
class Strength:
    """How far a view may go from its picture."""

    reach: float  # of zoom and shift, 1: as far as they go
    turned: float  # share of views at any angle; the others stand nearly upright
    often: float  # of each step's probability


WILD, CALM = Strength(1.0, 0.6, 1.0), Strength(0.4, 0.18, 0.5)


def _bytes(pixels: object) -> Picture:
    """What OpenCV made of uint8 pictures: such a picture, which its types do not say."""
    return np.asarray(pixels, np.uint8)


def warp(rng: Generator, picture: Picture, mask: Picture, side: int, strength: Strength = WILD) -> Pair:
    """Flip, turn, zoom, stretch and shift in one resampling, from any square size to `side`."""
    zoom = np.exp(rng.uniform(np.log(0.65), np.log(1.5)) * strength.reach)
    stretch = np.exp(rng.uniform(-0.22, 0.22))
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < strength.turned else rng.normal(0, 0.1)
    flip = rng.choice((-1.0, 1.0))
    source = picture.shape[0]
    scale = side / source * zoom
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([flip * scale * stretch, scale / stretch])
    shift = rng.uniform(-0.15, 0.15, 2) * strength.reach * side * max(1.0, zoom)
    offset = side / 2 + shift - turn @ np.full(2, source / 2)
    matrix = np.column_stack([turn, offset])
    border = cv2.BORDER_CONSTANT if rng.random() < 0.6 else cv2.BORDER_REFLECT_101

    def moved(pixels: Picture) -> Picture:
        return _bytes(cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border))

    return moved(picture), moved(mask)


def colour(rng: Generator, picture: Picture, mask: Picture) -> Pair:
    """White balance, brightness, gamma (one look-up table a channel) and saturation, hue (one 3x3 matrix)."""
    ramp = np.linspace(0, 1, 256)
    gains = np.exp(rng.normal(0, 0.10, 3) + rng.normal(0, 0.15))
    gamma = np.exp(rng.normal(0, 0.22))
    lift = rng.normal(0, 0.03)
    table = np.clip((ramp[:, None] ** gamma) * gains + lift, 0, 1)
    picture = _bytes(cv2.LUT(picture, (table[None] * 255).astype(np.uint8)))
    if rng.random() < 0.5:
        luma = np.tile([[0.299, 0.587, 0.114]], (3, 1))
        saturation = np.exp(rng.normal(0, 0.25))
        hue = np.eye(3) + rng.normal(0, 0.04, (3, 3))
        picture = _bytes(cv2.transform(picture, (luma + saturation * (np.eye(3) - luma)) @ hue))
    return picture, mask


def blur(rng: Generator, picture: Picture, mask: Picture) -> Pair:
    """Out of focus, or motion along a random direction."""
    if rng.random() < 0.5:
        return _bytes(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 2.2))), mask
    length = int(rng.integers(3, 12))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    centre, reach = length / 2 - 0.5, length / 2
    dx, dy = np.cos(angle) * reach, np.sin(angle) * reach
    cv2.line(kernel, (round(centre - dx), round(centre - dy)), (round(centre + dx), round(centre + dy)), 1.0)
    return _bytes(cv2.filter2D(picture, -1, kernel / max(kernel.sum(), 1.0))), mask


def compress(rng: Generator, picture: Picture, mask: Picture) -> Pair:
    """JPEG blocks, as recorders and converters leave them."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8), mask


def coarsen(rng: Generator, picture: Picture, mask: Picture) -> Pair:
    """A feed of fewer pixels than the model's."""
    side = picture.shape[0]
    small = int(side * rng.uniform(0.4, 0.8))
    picture = _bytes(cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA))
    return _bytes(cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)), mask


def noise(rng: Generator, picture: Picture, mask: Picture) -> Pair:
    """Sensor noise in the dark."""
    grain = rng.normal(0, rng.uniform(2, 9), picture.shape).astype(np.float32)
    return np.clip(picture + grain, 0, 255).astype(np.uint8), mask


def glints(rng: Generator, picture: Picture, mask: Picture) -> Pair:
    """Specular spots: the lamp on a wet wall."""
    side = picture.shape[0]
    light = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(2, 15))):
        centre = tuple(int(v) for v in rng.integers(0, side, 2))
        axes = tuple(int(v) for v in rng.integers(1, max(2, side // 24), 2))
        cv2.ellipse(light, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.6, 2.0))[..., None] * rng.uniform(0.6, 1.0)
    return (picture + (255 - picture) * light).astype(np.uint8), mask


def vignette(rng: Generator, picture: Picture, mask: Picture) -> Pair:
    """Light falls off from a random centre, as in a tube lit from its middle."""
    side = picture.shape[0]
    cx, cy = rng.uniform(0.25, 0.75, 2) * side
    y, x = np.ogrid[:side, :side]
    distance = np.sqrt((x - cx) ** 2 + (y - cy) ** 2) / side
    light = np.clip(1.15 - rng.uniform(0.4, 1.1) * distance, 0.1, 1.1).astype(np.float32)
    return np.clip(picture * light[..., None], 0, 255).astype(np.uint8), mask


def field(rng: Generator, picture: Picture, mask: Picture) -> Pair:
    """Black outside a round or octagonal field, as the box's own crop makes it."""
    side = picture.shape[0]
    inside = np.zeros((side, side), np.uint8)
    centre = side / 2 + rng.normal(0, 0.02, 2) * side
    if rng.random() < 0.5:
        axes = tuple(int(v) for v in rng.uniform(0.45, 0.6, 2) * side)
        cv2.ellipse(inside, tuple(int(v) for v in centre), axes, 0, 0, 360, 1, -1)
    else:
        half, cut = rng.uniform(0.46, 0.5) * side, rng.uniform(0.1, 0.3) * side
        a, b = half, half - cut
        corners = np.array([(-b, -a), (b, -a), (a, -b), (a, b), (b, a), (-b, a), (-a, b), (-a, -b)])
        cv2.fillConvexPoly(inside, (corners + centre).astype(np.int32), 1)
    mask[inside == 0] = 0
    return picture * inside[..., None], mask


def lettering(rng: Generator, picture: Picture, mask: Picture) -> Pair:
    """Text left in the picture: it must say nothing about polyps."""
    side = picture.shape[0]
    for _ in range(int(rng.integers(1, 5))):
        text = "".join(chr(c) for c in rng.integers(45, 91, rng.integers(3, 14)))
        at = (int(rng.uniform(0, 0.7) * side), int(rng.uniform(0.05, 1.0) * side))
        tone = tuple(int(v) for v in rng.choice(((255, 255, 255), (230, 230, 40), (240, 30, 30), (60, 240, 60))))
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, float(rng.uniform(0.3, 0.6)), tone, 1, cv2.LINE_AA)
    return picture, mask


def inset(rng: Generator, picture: Picture, mask: Picture) -> Pair:
    """A recorder's box in a corner (position display, black-out): whatever it covers is not polyp."""
    side = picture.shape[0]
    w, h = (int(v) for v in rng.uniform(0.15, 0.38, 2) * side)
    x, y = int(rng.choice((0, side - w))), int(rng.choice((0, side - h)))
    tone = rng.choice(((0, 0, 0), (10, 120, 40), (20, 20, 60), (90, 90, 90)))
    picture[y : y + h, x : x + w] = tone
    mask[y : y + h, x : x + w] = 0
    return picture, mask


def cutout(rng: Generator, picture: Picture, mask: Picture) -> Pair:
    """A patch of the picture's own mean colour over something: decide from the rest."""
    side = picture.shape[0]
    w, h = (int(v) for v in rng.uniform(0.08, 0.25, 2) * side)
    x, y = int(rng.integers(0, side - w)), int(rng.integers(0, side - h))
    picture[y : y + h, x : x + w] = picture.mean((0, 1))
    mask[y : y + h, x : x + w] = 0
    return picture, mask


# Probability, step; in the order light goes: the colon, the optics, the sensor, the recorder.
STEPS: tuple[tuple[float, Step], ...] = (
    (0.10, cutout),
    (0.15, glints),
    (0.20, vignette),
    (0.90, colour),
    (0.20, blur),
    (0.12, coarsen),
    (0.15, noise),
    (0.30, field),
    (0.10, inset),
    (0.12, lettering),
    (0.20, compress),
)
BLACKENED = 0.25  # share of samples whose burnt-in corners are blackened


def grafted(rng: Generator, picture: Picture, mask: Picture, donor: Pair) -> Pair:
    """Another picture's polyp on this wall: its colours moved most of the way to the wall's, its edge feathered.

    All (S, S, ...), warped already. A donor whose polyp is out of its picture, or would land in the black outside the
    field, changes nothing.
    """
    giver, given = donor
    truth = np.ascontiguousarray(given[..., 0]) if given.ndim == 3 else given
    inside = truth > 127
    if not 0.004 < inside.mean() < 0.3:
        return picture, mask
    feather = rng.uniform(1.5, 4.0)
    ring = (cv2.dilate(truth, np.ones((25, 25), np.uint8)) > 127) & ~inside
    here, there = picture[ring], giver[ring]
    if len(here) < 20 or here.mean() < 25:
        return picture, mask
    share = cv2.GaussianBlur(cv2.dilate(truth, np.ones((5, 5), np.uint8)), (0, 0), feather)[..., None] / 255.0
    moved = np.clip(giver + (here.mean(0) - there.mean(0)) * rng.uniform(0.6, 1.0), 0, 255)
    return (picture * (1 - share) + moved * share).astype(np.uint8), np.maximum(mask, given)


def augmented(
    rng: Generator, picture: Picture, mask: Picture, side: int, strength: Strength = WILD, donor: Pair | None = None
) -> Pair:
    """One random view of a sample at side × side, with a donor's polyp where one is given. Inputs stay as they are."""
    if rng.random() < BLACKENED:  # as every polyp-free picture is, or a black corner would mean "no polyp"
        picture, mask = without_burnt_in(picture), without_burnt_in(mask)
    picture, mask = warp(rng, picture, mask, side, strength)
    if donor is not None:
        picture, mask = grafted(rng, picture, mask, warp(rng, *donor, side, strength))
    for probability, step in STEPS:
        if rng.random() < probability * strength.often:
            picture, mask = step(rng, picture, mask)
    return picture, mask
