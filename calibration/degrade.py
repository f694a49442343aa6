"""What may be wrong with a view, made from pictures where nothing is: one function a condition, in light's own order.

Light is added and lost in linear light, where it adds; the camera comes last: saturation, sensor noise, 8 bits. How
strong is set by what comes out (the share that is burnt out, the mean that is left, the share that is covered), not by
a gain, so a dark picture and a bright one end equally over-exposed. `clear` pictures get the mild end of everything: a
little blur, some glare, a bubble or two are no reason to warn anybody. Pictures are RGB uint8 (S, S, 3); sizes in
pixels are for S = 256 and grow with S.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from calibration.manifest import LABELS
from calibration.pictures import Picture
from edge.phantom.effects import Room, draw_bubble
from edge.phantom.noise import fractal_noise
from edge.phantom.optics import Optics

Light = NDArray[np.float32]  # linear, 0 (black) .. 1 (the sensor is full), (S, S, 3)

CONDITIONS = LABELS["view"]
GAMMA = 2.2
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601
SEEN = 0.002  # linear luma below which a pixel is outside the field
TURBID = ((0.42, 0.26, 0.07), (0.30, 0.24, 0.10), (0.55, 0.50, 0.38), (0.22, 0.12, 0.03), (0.30, 0.02, 0.015))
"""Colours of fluid, linear: bile, greenish water, milky foam, stool, blood."""
MUTED = (
    (0.2, 0.2, 0.2),
    (0.5, 0.5, 0.48),
    (0.08, 0.18, 0.32),
    (0.1, 0.26, 0.22),
    (0.05, 0.05, 0.06),
    (0.5, 0.34, 0.26),
)
"""Colours of rooms, linear: greys, blue and green drapes, dark, skin and wood."""
ROOMS = 12  # of the phantom's: making one takes a while
BLACK = 12  # of 255: what JPEG leaves of black
LIT, SHARP, BURNT = 0.35, 3.0, 0.08  # usable(): least share of lit pixels, least sharpness, largest burnt-out share


def linear(picture: Picture) -> Light:
    table = ((np.arange(256) / 255) ** GAMMA).astype(np.float32)
    return table[picture]


def developed(light: Light) -> Picture:
    """Linear light to 8 bits, burnt out where there is more than 1."""
    return np.asarray(np.rint(255 * np.clip(light, 0, 1) ** (1 / GAMMA)), np.uint8)


def _grain(rng: Generator, light: Light, gain: float) -> Light:
    """Sensor noise at `gain`: shot noise grows with the light's root, read noise does not care."""
    variance = 2e-5 * gain * np.clip(light, 0, 1) + 4e-7 * gain * gain
    return np.asarray(light + rng.normal(0, 1, light.shape).astype(np.float32) * np.sqrt(variance), np.float32)


def _seen(light: Light) -> NDArray[np.float32]:
    """Linear luma of the pixels inside the field, flat; all of them where everything is dark."""
    luma = (light @ LUMA).ravel()
    inside = luma[luma > SEEN]
    return inside if inside.size else luma


# ------------------------------------------------------------------------------------------------ blur


def _disc(radius: float) -> NDArray[np.float32]:
    """A point out of focus: a disc of `radius` pixels with a soft edge."""
    reach = math.ceil(radius) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _path(rng: Generator, length: float) -> NDArray[np.float32]:
    """A point while the shutter is open: a slightly bent path of `length` pixels."""
    reach = math.ceil(length / 2) + 2
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    along = np.linspace(-0.5, 0.5, max(2, int(4 * length)))
    angle = rng.uniform(0, math.tau) + rng.normal(0, 0.5) * along
    x, y = reach + length * along * np.cos(angle), reach + length * along * np.sin(angle)
    np.add.at(kernel, (np.rint(y).astype(int), np.rint(x).astype(int)), 1)
    soft = cv2.GaussianBlur(kernel, (0, 0), 0.6)
    return np.asarray(soft / soft.sum(), np.float32)


def _spread(light: Light, kernel: NDArray[np.float32]) -> Light:
    return np.asarray(cv2.filter2D(light, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT), np.float32)


def _combed(rng: Generator, light: Light, length: float) -> Light:
    """Interlaced: every other row was seen a field later, after the scope had moved on."""
    angle = rng.uniform(0, math.tau)
    moved = cv2.warpAffine(
        light,
        np.array([[1, 0, length * math.cos(angle)], [0, 1, 0.5 * length * math.sin(angle)]]),
        light.shape[1::-1],
        borderMode=cv2.BORDER_REFLECT,
    )
    rows = light.copy()
    rows[1::2] = moved[1::2]
    return rows


def blurred(rng: Generator, light: Light) -> Light:
    """Out of focus, moved, or moved between two interlaced fields; sometimes two of them."""
    unit = light.shape[0] / 256
    kind = rng.random()
    if kind < 0.5:
        return _spread(light, _disc(unit * rng.uniform(2.6, 8)))
    if kind < 0.8:
        return _spread(light, _path(rng, unit * rng.uniform(11, 36)))
    if kind < 0.9:
        return _spread(_combed(rng, light, unit * rng.uniform(5, 16)), _path(rng, unit * rng.uniform(8, 16)))
    return _spread(_spread(light, _disc(unit * rng.uniform(1.6, 4))), _path(rng, unit * rng.uniform(7, 20)))


# -------------------------------------------------------------------------------------------- exposure


def over_exposed(rng: Generator, light: Light) -> Light:
    """A quarter to nine tenths of the field burnt out, with the glow that so much light leaves in a lens."""
    return _bright(rng, light, rng.uniform(0.25, 0.9))


def _bright(rng: Generator, light: Light, share: float) -> Light:
    """Light and gain so that `share` of the field is full; often more on one side, where the lamp is near."""
    side = light.shape[0]
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    away = np.hypot(x - rng.uniform(0.1, 0.9), y - rng.uniform(0.1, 0.9))
    near = 1 + np.float32(rng.uniform(0, 4)) * np.exp(-((away / np.float32(rng.uniform(0.2, 0.6))) ** 2))
    light = light * near[..., None]
    green = light[..., 1][light @ LUMA > SEEN]  # red tissue looks white when its green is full too
    light = light / max(float(np.quantile(green, 1 - share)) if green.size else 1.0, 1e-4)
    glow = cv2.GaussianBlur(np.clip(light - 1, 0, 2), (0, 0), side * rng.uniform(0.02, 0.08))
    return np.asarray(light + rng.uniform(0.05, 0.4) * glow + rng.uniform(0, 0.04), np.float32)


def under_exposed(rng: Generator, light: Light) -> Light:
    """So dark that tissue cannot be judged, with a sensor at its limit; sometimes a pool of light is left."""
    return _dark(rng, light, float(np.exp(rng.uniform(math.log(0.0006), math.log(0.011)))))


def _dark(rng: Generator, light: Light, mean: float) -> Light:
    """Light lost so that the mean linear luma of the field is `mean`."""
    side = light.shape[0]
    if rng.random() < 0.4:
        y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
        away = np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.2, 0.8))
        light = light * np.exp(-((away / np.float32(rng.uniform(0.15, 0.5))) ** 2))[..., None]
    light = light * np.float32(mean / max(float(_seen(light).mean()), 1e-4))
    return _grain(rng, light, float(np.clip(0.05 / mean, 1, 30)) * rng.uniform(0.2, 1))


# ------------------------------------------------------------------------------- things on the lens


def _cover(rng: Generator, side: int, share: float) -> NDArray[np.float32]:
    """A cloud 0..1 (S, S, 1) with soft edges that covers `share` of the picture."""
    cells = int(rng.choice((2, 4, 8)))
    coarse = np.asarray(fractal_noise(rng, (128, 128), (cells, cells), 3), np.float32)
    cloud = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    edge, soft = np.float32(np.quantile(cloud, 1 - share)), np.float32(rng.uniform(0.15, 1.0) * cloud.std())
    return np.asarray(np.clip(0.5 + (cloud - edge) / (2 * soft), 0, 1), np.float32)[..., None]


def _fluid(rng: Generator, light: Light, share: float) -> Light:
    """Turbid fluid or blood between lens and wall: what is behind it loses contrast and takes its colour."""
    side = light.shape[0]
    colour = np.array(TURBID[int(rng.integers(len(TURBID)))], np.float32) * rng.lognormal(0, 0.25, 3).astype(np.float32)
    behind = cv2.GaussianBlur(light, (0, 0), side / 256 * rng.uniform(2, 9))
    lit = behind @ LUMA
    veil = colour * (0.25 + 0.75 * lit / max(float(lit.max()), 1e-3))[..., None] * np.float32(rng.uniform(0.6, 1.6))
    thick = _cover(rng, side, share) * np.float32(rng.uniform(0.75, 1))
    return np.asarray(light * (1 - thick) + veil * thick, np.float32)


def _smear(rng: Generator, light: Light, share: float) -> Light:
    """Grease or a drop on the lens: parts of the picture pulled along and milky."""
    side = light.shape[0]
    pulled = _spread(light, _path(rng, side / 256 * rng.uniform(20, 50)))
    soft = cv2.GaussianBlur(pulled, (0, 0), side / 256 * rng.uniform(3, 8))
    milk = np.float32(rng.uniform(0.02, 0.15)) * np.array((1.0, 0.9, 0.8), np.float32)
    thick = _cover(rng, side, share)
    return np.asarray(light * (1 - thick) + (soft * np.float32(0.9) + milk) * thick, np.float32)


def _bubbles(rng: Generator, light: Light, share: float) -> Light:
    """Bubbles until their discs add up to `share` of the picture, singly and in rafts; foam in between when many."""
    side = light.shape[0]
    picture, covered = developed(light), 0.0
    centre, spread = rng.uniform(0, side, 2), side * rng.uniform(0.15, 0.5)
    size = rng.uniform(1.2, 2.8)
    while covered < share * side * side * 1.3:
        if rng.random() < 0.04:
            centre, spread = rng.uniform(0, side, 2), side * rng.uniform(0.15, 0.5)
        x, y = rng.normal(centre, spread)
        radius = float(np.clip(rng.lognormal(size, 0.5), 2, 40)) * side / 256
        if 0 <= x < side and 0 <= y < side:
            draw_bubble(picture, float(x), float(y), radius)
            covered += math.pi * radius * radius
    return linear(picture)


def _wall(rng: Generator, light: Light, _share: float) -> Light:
    """The lens against the wall: nothing but its colour, lighter in the middle, hardly a structure."""
    side = light.shape[0]
    colour = np.float32(0.5) * light.reshape(-1, 3).mean(0) + np.float32(0.5) * np.quantile(
        light.reshape(-1, 3), rng.uniform(0.6, 0.95), 0
    ).astype(np.float32)
    structure = cv2.GaussianBlur(light, (0, 0), side / 256 * rng.uniform(14, 40))
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    away = np.hypot(x - rng.uniform(0.3, 0.7), y - rng.uniform(0.3, 0.7))
    near = np.exp(-((away / np.float32(rng.uniform(0.4, 1.0))) ** 2))[..., None]
    return np.asarray((0.7 * colour + 0.3 * structure) * (0.4 + near) * np.float32(rng.uniform(0.8, 1.6)), np.float32)


COVERS: tuple[tuple[float, Callable[[Generator, Light, float], Light]], ...] = (
    (0.34, _fluid),
    (0.20, _smear),
    (0.30, _bubbles),
    (0.16, _wall),
)


def obscured(rng: Generator, light: Light) -> Light:
    """Half of the view or more behind bubbles, fluid, blood, a dirty lens; or the lens against the wall."""
    chances = np.array([chance for chance, _ in COVERS])
    _, cover = COVERS[int(rng.choice(len(COVERS), p=chances))]
    light = cover(rng, light, rng.uniform(0.5, 1.0))
    return _bubbles(rng, light, rng.uniform(0.02, 0.2)) if rng.random() < 0.25 else light


# ----------------------------------------------------------------------------------------------- clear


def clear(rng: Generator, light: Light) -> Light:
    """Nothing to complain about. Half of them get the mild end of one thing or another."""
    unit, kind = light.shape[0] / 256, rng.random()
    if kind < 0.10:
        return _spread(light, _disc(unit * rng.uniform(0.4, 1.0)))
    if kind < 0.18:
        return _spread(light, _path(rng, unit * rng.uniform(1, 4)))
    if kind < 0.28:
        return _bright(rng, light, rng.uniform(0.005, 0.05))
    if kind < 0.40:
        return light * np.float32(rng.uniform(0.45, 0.9))
    if kind < 0.46:
        return _bubbles(rng, light, rng.uniform(0.005, 0.05))
    if kind < 0.50:
        return _fluid(rng, light, rng.uniform(0.01, 0.06))
    return light


# ----------------------------------------------------------------------------------------- out of body


@lru_cache(maxsize=ROOMS)
def _room(seed: int) -> Room:
    return Room(np.random.default_rng((seed, 0x2003)))


@lru_cache(maxsize=4)
def _whole(side: int) -> Optics:
    """A field of about side x side, cut like a scope's."""
    return Optics(round(1.4 * side), round(side / 0.94), "octagon")


def _phantom_room(rng: Generator, side: int) -> Light:
    """The phantom's examination room, seen by a scope that is waved about."""
    field = _room(int(rng.integers(ROOMS))).look(float(rng.uniform(0, 600)), _whole(side))
    return linear(np.asarray(cv2.resize(field, (side, side), interpolation=cv2.INTER_AREA), np.uint8))


def _muted(rng: Generator) -> NDArray[np.float32]:
    """A colour of rooms, linear: greys, drapes' blue and green, now and then skin or wood."""
    hue = np.array(MUTED[int(rng.integers(len(MUTED)))], np.float32)
    return np.asarray(hue * rng.lognormal(0, 0.12, 3) * rng.lognormal(-0.2, 0.6), np.float32)


def _surface(rng: Generator, side: int) -> Light:
    """Cloth, wall or floor: a colour, creases or tiles, and light that falls off."""
    cells = int(rng.choice((2, 4, 8)))
    relief = cv2.resize(np.asarray(fractal_noise(rng, (256, 256), (cells, cells), 4), np.float32), (side, side))
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    angle = rng.uniform(0, math.tau)
    along = np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y
    if rng.random() < 0.5:
        relief = np.sin(np.float32(rng.uniform(5, 40)) * along + np.float32(rng.uniform(0, 8)) * relief)
    lit = (1 + np.float32(rng.uniform(0.05, 0.5)) * relief) * (0.6 + np.float32(rng.uniform(-0.6, 0.6)) * (along - 0.5))
    return np.asarray(np.clip(lit, 0.02, None)[..., None] * _muted(rng), np.float32)


def _furnished(rng: Generator, scene: Light) -> Light:
    """Straight-edged things: trolleys, monitors, cables, writing."""
    side, drawn = scene.shape[0], developed(scene)

    def tone() -> list[float]:
        return [float(v) for v in developed(_muted(rng))]

    for _ in range(int(rng.integers(1, 9))):
        centre, size = rng.uniform(0, side, 2).tolist(), (rng.uniform(0.08, 0.7, 2) * side).tolist()
        box = cv2.boxPoints((centre, size, float(rng.uniform(0, 90))))
        cv2.fillConvexPoly(drawn, box.astype(np.int32), tone(), cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 6))):
        ends = rng.integers(0, side, (2, 2)).tolist()
        cv2.line(drawn, ends[0], ends[1], tone(), int(rng.integers(1, max(2, side // 32))), cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 5))):
        text = "".join(chr(c) for c in rng.integers(45, 91, rng.integers(3, 12)))
        at, scale = rng.integers(0, side, 2).tolist(), float(rng.uniform(0.3, 1.2)) * side / 256
        cv2.putText(drawn, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, tone(), 1, cv2.LINE_AA)
    return linear(drawn)


def _lamps(rng: Generator, scene: Light) -> Light:
    """Lamps and windows: burnt out, with a glow."""
    side, lamps = scene.shape[0], np.zeros_like(scene)
    for _ in range(int(rng.integers(0, 4))):
        centre, axes = rng.integers(0, side, 2).tolist(), rng.integers(2, max(3, side // 8), 2).tolist()
        cv2.ellipse(lamps, centre, axes, float(rng.uniform(0, 180)), 0, 360, (3.0, 2.9, 2.6), -1, cv2.LINE_AA)
    return np.asarray(scene + lamps + 0.3 * cv2.GaussianBlur(lamps, (0, 0), side * rng.uniform(0.02, 0.15)), np.float32)


def out_of_body(rng: Generator, light: Light) -> Light:
    """The scope outside: nothing of the picture given is kept but its size."""
    side = light.shape[0]
    if rng.random() < 0.25:
        return _phantom_room(rng, side)
    scene = _lamps(rng, _furnished(rng, _surface(rng, side)))
    blur = side / 256 * float(rng.choice((0.6, 1.0, 2.0, 4.0)))  # a lens made for centimetres, looking at metres
    grey = (scene @ LUMA)[..., None]
    muted = np.asarray(grey + np.float32(rng.uniform(0.3, 1)) * (scene - grey), np.float32)
    return np.asarray(cv2.GaussianBlur(muted, (0, 0), blur) * np.float32(rng.lognormal(0, 0.4)), np.float32)


# ---------------------------------------------------------------------------------------------- camera

_BY_NAME: dict[str, Callable[[Generator, Light], Light]] = {
    "clear": clear,
    "blurred": blurred,
    "over_exposed": over_exposed,
    "under_exposed": under_exposed,
    "obscured": obscured,
    "out_of_body": out_of_body,
}


def degraded(rng: Generator, picture: Picture, condition: str) -> Picture:
    """A good picture, RGB uint8 (S, S, 3), under one of CONDITIONS; black outside its field, whatever the condition."""
    light = _BY_NAME[condition](rng, linear(picture))
    return developed(_grain(rng, light, rng.uniform(0, 3))) * field(picture)[..., None]


def field(picture: Picture) -> NDArray[np.uint8]:
    """0/1 (S, S): where the scope's picture is. What is black and hangs together with the border is outside."""
    dark = (picture.max(2) <= BLACK).astype(np.uint8)
    framed = cv2.copyMakeBorder(dark, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(1,))
    cv2.floodFill(framed, None, (0, 0), (2,))
    return np.asarray(framed[1:-1, 1:-1] != 2, np.uint8)


def usable(picture: Picture) -> bool:
    """Is a picture itself clear enough to stand for `clear`, and to be spoilt in one way only?

    Sharpness is the mean absolute Laplacian of luma where there is light, exposure the shares that are dark or full.
    """
    luma = np.asarray(cv2.cvtColor(cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY))
    inside = cv2.erode((luma > BLACK).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if inside.mean() < LIT:
        return False
    detail = np.abs(cv2.Laplacian(luma, cv2.CV_32F))[inside]
    seen = luma[inside]
    return bool(detail.mean() >= SHARP and (seen > 245).mean() <= BURNT and 60 <= seen.mean() <= 190)
