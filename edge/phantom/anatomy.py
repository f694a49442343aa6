"""What the phantom is made of: the tube's wall (folds, mucosa) and its polyps.

Lengths are in tube radii (one radius is about 25 mm). The wall is parametrised by `theta` (angle around the tube's
axis, radians) and `z` (along it, towards the caecum). The wall repeats every `PERIOD` radii; polyps do not.
"""

from __future__ import annotations

import enum
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.phantom.noise import Bytes, Plane, fractal_noise, smooth_noise, vessels
from edge.types import Struct

PERIOD = 8.0
SLOPE_STEP = 0.006  # micro slope per count of the slope atlas, 128 is level
ATLAS = (2048, 1536)  # rows along z, columns around
FOLDS = (1024, 384)
RESIDUE = (0.80, 0.62, 0.25)


class Paris(str, enum.Enum):
    """Paris classes of superficial lesions that the phantom grows."""

    IP = "0-Ip"
    IS = "0-Is"
    IIA = "0-IIa"
    IIB = "0-IIb"
    IIC = "0-IIc"


class Polyp(Struct, frozen=True, kw_only=True):
    """One polyp on the wall. Lengths in tube radii, colours as RGB factors on the mucosa around it."""

    id: int
    paris: Paris
    theta: float
    z: float
    radius: float
    stretch: float  # long axis / short axis
    turn: float  # of the long axis, radians
    height: float
    lobes: tuple[float, ...]  # amplitudes of the outline's harmonics 2..
    tint: tuple[float, float, float]
    grain: float  # how rough its surface is against the mucosa's
    seed: int

    @property
    def extent(self) -> float:
        """Nothing of it touches the wall farther from its centre than this."""
        return 1.6 * self.radius * math.sqrt(self.stretch)


class Palette(Struct, frozen=True, kw_only=True):
    """Colours of one patient's mucosa, RGB 0..1."""

    base: tuple[float, float, float]
    flush: tuple[float, float, float]
    pale: tuple[float, float, float]
    vessel: tuple[float, float, float]
    vessel_strength: float
    residue: float  # how much yellow residue sticks to the wall, 0..1


class Wall:
    """The tube's surface as pictures over (z, theta); the first row and column are repeated at the end.

    `albedo`: uint8 `ATLAS + (4,)`, RGB and wetness. `slope`: two uint8 `ATLAS` planes (two look-ups are faster than
    one of two channels), micro slope along theta and along z in `SLOPE_STEP`s around 128. `inward`: float32 `FOLDS`,
    how far the wall stands in from radius 1 (folds positive, haustra negative).
    """

    def __init__(self, seed: int, palette: Palette, fold_depth: float = 0.38) -> None:
        rng = np.random.default_rng((seed, 0xC0104))
        albedo, slope = _mucosa(rng, palette)
        self.albedo = closed(albedo)
        self.slope = (closed(slope[0]), closed(slope[1]))
        self.inward = closed(_folds(rng, fold_depth))

    def stands_in(self, theta: float, z: float) -> float:
        """How far the folds stand in at one point of the wall."""
        row, column = int(z % PERIOD * FOLDS[0] / PERIOD), int(theta % math.tau * FOLDS[1] / math.tau)
        return float(self.inward[row, column])


def closed(seamless: NDArray[Any]) -> NDArray[Any]:
    """The first row and column repeated at the end, so that bilinear look-ups may cross the seam."""
    pad = [(0, 1), (0, 1)] + [(0, 0)] * (seamless.ndim - 2)
    return np.ascontiguousarray(np.pad(seamless, pad, mode="wrap"))


def seam(coordinate: Plane, period: int) -> Plane:
    """Brought into 0..period. Some 8 times faster than to let cv2.remap wrap around the border."""
    return np.asarray(coordinate - np.float32(period) * np.floor(coordinate * np.float32(1 / period)), np.float32)


def _mucosa(rng: np.random.Generator, palette: Palette) -> tuple[Bytes, tuple[Bytes, Bytes]]:
    picture = [np.full(ATLAS, channel, np.float32) for channel in palette.base]

    def mix(colour: tuple[float, float, float], share: Plane) -> None:
        for whole, channel in zip(picture, colour, strict=True):
            whole += share * (np.float32(channel) - whole)

    patches = fractal_noise(rng, ATLAS, (8, 6), 4)
    mix(palette.flush, np.clip(patches, 0, 1) * 0.9)
    mix(palette.pale, np.clip(-patches, 0, 1) * 0.9)
    zones = np.clip(0.55 + 0.8 * smooth_noise(rng, ATLAS, (8, 6)), 0.1, 1)
    mix(palette.vessel, vessels(rng, ATLAS, 46) * zones * np.float32(palette.vessel_strength))
    fine = 1 + 0.07 * fractal_noise(rng, ATLAS, (128, 96), 3, 0.7) + 0.05 * fractal_noise(rng, ATLAS, (32, 24), 2)
    for whole in picture:
        whole *= fine
    blot = fractal_noise(rng, ATLAS, (16, 12), 4, 0.6)
    mix(RESIDUE, np.clip((blot - 0.75 + 0.6 * palette.residue) * 2.5, 0, 0.8 * palette.residue))
    wet = np.clip(0.5 + 0.9 * fractal_noise(rng, ATLAS, (16, 12), 3), 0, 1)
    albedo = np.dstack([np.clip(whole * 255, 0, 255).astype(np.uint8) for whole in (*picture, wet)])
    bumps = 0.0035 * fractal_noise(rng, ATLAS, (128, 96), 2, 0.5) + 0.008 * smooth_noise(rng, ATLAS, (64, 48))
    return albedo, _slopes(bumps, PERIOD / ATLAS[0], math.tau / ATLAS[1])


def _slopes(height: Plane, row_step: float, col_step: float) -> tuple[Bytes, Bytes]:
    """Central differences of a seamless height picture, along columns and rows, in `SLOPE_STEP`s around 128."""

    def along(axis: int, step: float) -> Bytes:
        rise = np.roll(height, -1, axis) - np.roll(height, 1, axis)
        steps = np.clip(rise / np.float32(2 * step * SLOPE_STEP) + 128, 0, 255)
        return np.asarray(steps, np.uint8)

    return along(1, col_step), along(0, row_step)


def _folds(rng: np.random.Generator, depth: float) -> Plane:
    """Haustral folds: crescents that reach around a third to the whole of the tube, pouches between them."""
    z = (np.arange(FOLDS[0], dtype=np.float32) * (PERIOD / FOLDS[0]))[:, None]
    theta = (np.arange(FOLDS[1], dtype=np.float32) * (math.tau / FOLDS[1]))[None, :]
    inward = 0.07 * fractal_noise(rng, FOLDS, (8, 4), 2)
    taenia = rng.uniform(0, math.tau)
    inward += 0.05 * np.cos(3 * (theta - taenia))
    count = int(rng.integers(7, 11))
    for index in range(count):
        at = (index + rng.uniform(-0.25, 0.25)) * PERIOD / count
        reach = rng.uniform(0.6, 2.2)
        middle = rng.uniform(0, math.tau)
        around = np.abs((theta - middle + math.pi) % math.tau - math.pi)
        share = 1 / (1 + np.exp((around - reach) * 5))
        sway = 0.12 * np.sin(theta + rng.uniform(0, math.tau)) + 0.06 * np.sin(2 * theta + rng.uniform(0, math.tau))
        along = (z - at - sway + PERIOD / 2) % PERIOD - PERIOD / 2
        thick = rng.uniform(0.08, 0.2)
        amplitude = depth * rng.uniform(0.5, 1.1)
        inward += amplitude * share * np.exp(-((np.abs(along) / thick) ** 1.7))
        inward -= 0.06 * np.exp(-(((along - 0.5) / 0.3) ** 2))
    return cv2.GaussianBlur(inward, (0, 0), 1.5).astype(np.float32)


def relief(polyp: Polyp, u: Plane, v: Plane) -> tuple[Plane, Plane]:
    """Height above the mucosa and `q` (0 centre, 1 outline) at offsets `u` (around), `v` (along) from its centre."""
    cos, sin = np.float32(math.cos(polyp.turn)), np.float32(math.sin(polyp.turn))
    root = math.sqrt(polyp.stretch)
    long = (cos * u + sin * v) * np.float32(1 / (polyp.radius * root))
    short = (cos * v - sin * u) * np.float32(root / polyp.radius)
    angle = cv2.phase(long, short).reshape(u.shape)
    q = np.sqrt(long * long + short * short)
    outline = np.zeros_like(angle)
    for harmonic, amplitude in enumerate(polyp.lobes, start=2):
        outline += np.float32(amplitude) * np.cos(harmonic * angle + np.float32(polyp.seed % 628 / 100 * harmonic))
    q = q / (1 + outline * np.clip(q, 0, 1))  # lobes shape the rim, not the middle
    return np.float32(polyp.height) * PROFILES[polyp.paris](q), q


def _plateau(q: Plane) -> Plane:
    ramp = np.clip((1 - q) / 0.4, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp) + 0.35 * np.clip(1 - q * q, 0, 1), np.float32)


def _crater(q: Plane) -> Plane:
    return np.asarray(np.exp(-(((q - 0.78) / 0.16) ** 2)) - 0.8 * np.clip(1 - (q / 0.7) ** 2, 0, 1), np.float32)


STANDING = (Paris.IP, Paris.IS)  # these are bodies before the wall, the others are relief of the wall
PROFILES = {Paris.IP: _plateau, Paris.IS: _plateau, Paris.IIA: _plateau, Paris.IIB: _plateau, Paris.IIC: _crater}
