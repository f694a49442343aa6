"""What is between the mucosa and the screen: bubbles, focus, motion, the sensor, the room, and the tower's text."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.phantom.noise import Plane, fractal_noise, plane, smooth_noise
from edge.phantom.optics import Optics

Picture = NDArray[np.uint8]
ROOM = 1024  # pixels of the room's backdrop, square
PATIENT = ("PHANTOM, Anna", "F  01/01/1960", "", "ID 0000-TEST")
DEVICE = ("PHANTOM VIDEO", "CF-SIM 190", "Gr:B8 Cm:1", "NOT A PATIENT")


def soften(rgb: Picture, sigma: float) -> Picture:
    """The lens' own softness, or defocus; `sigma` in pixels."""
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma), np.uint8)


def smear(rgb: Picture, move: tuple[float, float]) -> Picture:
    """Motion blur along `move` (x, y), pixels during the exposure."""
    length = math.hypot(*move)
    if length < 1.5:
        return rgb
    size = 2 * math.ceil(length / 2) + 1
    kernel = np.zeros((size, size), np.float32)
    half = size // 2
    dx, dy = move[0] / length * half, move[1] / length * half
    cv2.line(kernel, (round(half - dx), round(half - dy)), (round(half + dx), round(half + dy)), (1.0,), 1)
    return np.asarray(cv2.filter2D(rgb, -1, kernel / kernel.sum()), np.uint8)


def draw_bubble(rgb: Picture, x: float, y: float, radius: float) -> None:
    """A bubble of fluid, in place: a dark-edged lens with a bright rim on one side and two small lights in it."""
    reach = radius + 2
    x0, y0 = max(0, int(x - reach)), max(0, int(y - reach))
    x1, y1 = min(rgb.shape[1], int(x + reach) + 1), min(rgb.shape[0], int(y + reach) + 1)
    if x1 <= x0 or y1 <= y0 or radius < 1.5:
        return
    yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    u, v = (xx - np.float32(x)) / np.float32(radius), (yy - np.float32(y)) / np.float32(radius)
    r = np.sqrt(u * u + v * v)
    edge = np.exp(-(((r - 0.93) / 0.10) ** 2))
    side = np.clip(0.5 - 0.6 * (u + v), 0, 1)
    light = np.exp(-((u + 0.35) ** 2 + (v + 0.4) ** 2) / 0.025)
    light += 0.4 * np.exp(-((u - 0.4) ** 2 + (v - 0.45) ** 2) / 0.03)
    patch = rgb[y0:y1, x0:x1].astype(np.float32)
    patch *= (1 - 0.45 * edge * (1 - side) + 0.10 * (r < 0.93))[..., None]
    patch += (230 * light + 95 * edge * side)[..., None] * (r < 1.1)[..., None]
    rgb[y0:y1, x0:x1] = np.clip(patch, 0, 255).astype(np.uint8)


class Foam:
    """Bubbles and turbid fluid on the lens: what "poor view: bubbles" looks like. Static but for a slow slide."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        radii = np.sort(np.clip(rng.lognormal(2.6, 0.55, 260), 4, 60))[::-1]
        self._bubbles = [
            (float(rng.uniform(0, shape[1])), float(rng.uniform(0, shape[0])), float(r * shape[0] / 480)) for r in radii
        ]
        cloud = cv2.resize(fractal_noise(rng, (512, 512), (4, 4), 3), shape[::-1])
        self._veil = np.clip(0.62 + 0.5 * plane(cloud), 0, 1)[..., None]

    def over(self, rgb: Picture, strength: float, slide: float) -> Picture:
        """`rgb` behind foam of `strength` 0..1 that has slid down by `slide` pixels."""
        veil = self._veil * np.float32(strength * 0.8)
        under = cv2.GaussianBlur(rgb, (0, 0), 1 + 5 * strength).astype(np.float32)
        turbid = np.array((196, 168, 110), np.float32) * (0.35 + 0.65 * under.mean(2, keepdims=True) / 255)
        out = np.asarray(under + veil * (turbid - under), np.uint8)
        for x, y, radius in self._bubbles[: int(len(self._bubbles) * strength)]:
            draw_bubble(out, x, (y + slide) % rgb.shape[0], radius)
        return out


class Room:
    """The dim examination room that the lens sees outside the body: blueish drapes, a monitor, lamps."""

    def __init__(self, rng: np.random.Generator) -> None:
        shape = (ROOM, ROOM)
        drape = fractal_noise(rng, shape, (4, 8), 4, 0.55)
        crease = np.sin(9 * smooth_noise(rng, shape, (2, 4)) + 5 * drape)
        level = 0.5 + 0.3 * drape + 0.16 * crease
        room = np.dstack([44 * level, 80 * level, 118 * level]).astype(np.float32)
        self._floor(room, rng)
        for _ in range(4):
            centre = rng.uniform(0.15 * ROOM, 0.85 * ROOM, 2)
            self._glow(room, centre, float(rng.uniform(9, 30)), (250, 246, 225))
        self._backdrop = np.clip(room, 0, 255).astype(np.uint8)
        self._sway = rng.uniform(0, math.tau, 4)

    def _floor(self, room: Plane, rng: np.random.Generator) -> None:
        """Darkness beyond the drapes, and a monitor in it."""
        edge = 0.45 * ROOM + 70 * smooth_noise(rng, (ROOM, ROOM), (4, 4))
        dark = np.clip((np.arange(ROOM, dtype=np.float32)[:, None] - edge) / 60, 0.30, 1)
        room *= dark[..., None]
        x, y = int(rng.uniform(0.2, 0.6) * ROOM), int(rng.uniform(0.12, 0.25) * ROOM)
        cv2.rectangle(room, (x, y), (x + 190, y + 120), (46.0, 66.0, 88.0), -1)
        cv2.rectangle(room, (x, y), (x + 190, y + 120), (12.0, 14.0, 18.0), 7)
        room[:] = cv2.GaussianBlur(room, (0, 0), 3.0)

    def _glow(self, room: Plane, centre: NDArray[np.float64], radius: float, colour: tuple[int, int, int]) -> None:
        yy, xx = np.mgrid[0:ROOM, 0:ROOM].astype(np.float32)
        away = np.hypot(xx - np.float32(centre[0]), yy - np.float32(centre[1])) / np.float32(radius)
        glow = np.clip(1.6 - away, 0, 1) + 0.35 * np.exp(-away * 0.45)
        room += glow[..., None] * np.array(colour, np.float32)

    def look(self, t: float, optics: Optics) -> Picture:
        """The field at second `t`, uint8 (h, w, 3): a hand-held lens that turns about."""
        h, w = optics.mask.shape
        a = self._sway
        angle = 25 * math.sin(1.3 * t + a[0])
        zoom = 480 / h * (0.9 + 0.12 * math.sin(0.9 * t + a[1]))
        middle = ROOM / 2 + 150 * math.sin(1.1 * t + a[2]), ROOM / 2 + 110 * math.sin(0.8 * t + a[3])
        turn = cv2.getRotationMatrix2D((w / 2, h / 2), angle, zoom)
        turn[:, 2] = turn[:, 2] + (np.array(middle) - (w / 2, h / 2))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(self._backdrop, turn, (w, h), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        shaded = soften(np.asarray(seen, np.uint8), 1.8).astype(np.float32) * optics.vignette[..., None]
        return shaded.astype(np.uint8) * optics.mask[..., None]


class Sensor:
    """Camera noise: one grain pattern, moved about from frame to frame."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        self._shape = shape
        grain = rng.normal(0, 2.2, (shape[0] + 64, shape[1] + 64)).astype(np.float32)
        chroma = rng.normal(0, 0.8, (*grain.shape, 3)).astype(np.float32)
        self._grain = np.rint(grain[..., None] + chroma).astype(np.int16)

    def expose(self, rgb: Picture, at: NDArray[np.int64]) -> Picture:
        """`rgb` with the grain at offset `at` (x, y), 0..63."""
        h, w = self._shape
        grain = self._grain[at[1] : at[1] + h, at[0] : at[0] + w]
        return np.asarray(cv2.add(rgb, grain, dtype=cv2.CV_8U), np.uint8)


def overlay(optics: Optics, t: float) -> Picture:
    """The tower's screen around the field at second `t`: a fake patient, the time, the device. Black in the field."""
    height, width = optics.size
    screen = np.zeros((height, width, 3), np.uint8)
    scale, left = 0.36 * height / 512, int(0.012 * width)
    clock = f"{14 + int(t) // 3600:02d}:{int(t) // 60 % 60:02d}:{int(t) % 60:02d}"
    rows = (*PATIENT, "", "12/03/2026", clock, *("",) * 9, *DEVICE)
    for index, text in enumerate(rows):
        at = (left, int(height * (0.06 + 0.045 * index)))
        cv2.putText(screen, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (216, 216, 216), 1, cv2.LINE_AA)
    screen[optics.full_mask()] = 0
    return screen
