"""A script turned into frames and their truth."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import cv2
import numpy as np

from edge.phantom import growth
from edge.phantom.anatomy import PERIOD, STANDING, Polyp, Wall, relief
from edge.phantom.bodies import Body
from edge.phantom.effects import Foam, Picture, Room, Sensor, draw_bubble, overlay, smear, soften
from edge.phantom.journey import Journey, Moment
from edge.phantom.noise import Plane
from edge.phantom.optics import Optics
from edge.phantom.renderer import Light, Renderer, Shot
from edge.phantom.script import PolypTruth, Script, Truth, polyp_truth
from edge.phantom.tube import Camera
from edge.types import View

SPECK = 0.0008  # share of the field: a polyp of fewer pixels is not "in view"
SHUTTER_S = 0.010
BUBBLES = 70  # on one `PERIOD` of the wall


class Film:
    """All frames of one script, in any order. Making one costs seconds (the wall). One thread."""

    def __init__(self, script: Script) -> None:
        rng = np.random.default_rng((script.seed, 0xF117))
        self.script = script
        self.optics = Optics(script.width, script.height, script.shape)
        wall = Wall(script.seed, growth.palette(rng))
        self._renderer = Renderer(self.optics, wall)
        self.journey = Journey(script, wall)
        shape = (self.optics.mask.shape[0], self.optics.mask.shape[1])
        self._room, self._foam, self._sensor = Room(rng), Foam(rng, shape), Sensor(rng, shape)
        self._bubbles = _wall_bubbles(rng)
        self._second, self._screen = 0, overlay(self.optics, 0.0)

    def frame(self, index: int) -> tuple[Picture, Truth]:
        """Frame `index` (0 .. script.frames - 1): RGB uint8 (height, width, 3) and its truth."""
        if not 0 <= index < self.script.frames:
            raise IndexError(f"frame {index}: the script has frames 0 to {self.script.frames - 1}")
        t = index / self.script.fps
        moment = self.journey.at(t)
        polyps: tuple[PolypTruth, ...] = ()
        if moment.view is View.BLACK:
            field = np.zeros((*self.optics.mask.shape, 3), np.uint8)
        elif moment.view is View.OUT_OF_BODY:
            field = self._grained(self._room.look(t, self.optics), index)
        else:
            shot = self._renderer.shoot(moment.camera, self.journey.polyps, _light(moment))
            field = self._grained(self._seen(shot, moment), index)
            polyps = self._truth(shot, moment.camera)
        reason = moment.reason if moment.view is View.POOR else ""
        truth = Truth(
            frame=index,
            media_ns=self.script.media_ns(index),
            view=moment.view,
            reason=reason,
            polyps=polyps,
            field=self.optics.outline,
        )
        return self._framed(field, t), truth

    def _seen(self, shot: Shot, moment: Moment) -> Picture:
        """The shot through a wet, moving lens."""
        rgb, strength = shot.rgb, moment.strength
        for x, y, radius in _bubbles_in(self._bubbles, shot, moment.camera, self.optics):
            draw_bubble(rgb, x, y, radius)
        turn = self.optics.pixels_per_radian * SHUTTER_S
        move = (moment.drift[0] * turn, -moment.drift[1] * turn)
        blur = strength * self.script.height / 512 if moment.reason == "blur" else 0.0
        move = (move[0] + 26 * blur, move[1] + 9 * blur * math.sin(7 * moment.t))
        rgb = smear(soften(rgb, 0.7 + 5.5 * blur), move)
        return self._foam.over(rgb, strength, 14 * moment.t) if moment.reason == "bubbles" and strength else rgb

    def _grained(self, field: Picture, index: int) -> Picture:
        at = np.random.default_rng((self.script.seed, index)).integers(0, 64, 2)
        grained = self._sensor.expose(field, at)
        return np.asarray(cv2.bitwise_and(grained, grained, mask=self.optics.mask), np.uint8)

    def _framed(self, field: Picture, t: float) -> Picture:
        x0, y0, x1, y1 = self.optics.rect
        if int(t) != self._second:
            self._second, self._screen = int(t), overlay(self.optics, t)
        screen = self._screen.copy()
        screen[y0:y1, x0:x1] += field  # each is black where the other is not
        return screen

    def _truth(self, shot: Shot, camera: Camera) -> tuple[PolypTruth, ...]:
        x0, y0 = self.optics.rect[:2]
        least = SPECK * int(self.optics.mask.sum())
        found = []
        sizes = np.bincount(shot.label.ravel(), minlength=len(self.journey.polyps) + 1)
        for polyp in self.journey.polyps:
            if sizes[polyp.id] < least:
                continue
            mask = shot.label == polyp.id
            share = round(self._visible(polyp, shot, camera), 3)
            found.append(polyp_truth(polyp.id, polyp.paris.value, mask, (x0, y0), share))
        return tuple(found)

    def _visible(self, polyp: Polyp, shot: Shot, camera: Camera) -> float:
        """Share of the polyp's camera-facing surface that the picture shows."""
        if polyp.paris in STANDING:
            points, normals = Body(polyp, self._renderer.wall, camera).skin()
        else:
            points, normals = _flat_skin(polyp, self._renderer.wall, camera)
        facing = (points * normals).sum(1) < 0
        if not facing.any():
            return 1.0
        at = np.rint(self.optics.project(points[facing] @ camera.rotation())).astype(int)
        h, w = shot.label.shape
        inside = (at[:, 0] >= 1) & (at[:, 0] < w - 1) & (at[:, 1] >= 1) & (at[:, 1] < h - 1)
        x, y = at[inside].T
        seen = np.zeros(x.size, bool)
        for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
            seen |= shot.label[y + dy, x + dx] == polyp.id
        return float(seen.sum() / facing.sum())


def render(script: Script) -> Iterator[tuple[Picture, Truth]]:
    """Every frame of `script` in order: RGB uint8 (height, width, 3) and its truth."""
    film = _film(script)
    for index in range(script.frames):
        yield film.frame(index)


def frame(script: Script, index: int) -> tuple[Picture, Truth]:
    """One frame. The first of a script costs seconds; the last two scripts are remembered."""
    return _film(script).frame(index)


@functools.lru_cache(maxsize=2)
def _film(script: Script) -> Film:
    return Film(script)


def _light(moment: Moment) -> Light:
    exposure = 0.47
    if moment.reason == "glare":
        exposure += 0.52 * moment.strength
    if moment.reason == "dark":
        exposure *= 1 - 0.93 * moment.strength
    return Light(exposure=exposure, gloss=1 + 2 * moment.strength * (moment.reason == "glare"))


def _wall_bubbles(rng: np.random.Generator) -> Plane:
    """Clusters of small bubbles stuck to the wall: (N, 3) theta, z (0..PERIOD), radius."""
    clusters = rng.uniform((0, 0), (math.tau, PERIOD), (9, 2))
    at = clusters[rng.integers(0, len(clusters), BUBBLES)] + rng.normal(0, 0.10, (BUBBLES, 2))
    radius = np.clip(rng.lognormal(-4.0, 0.5, BUBBLES), 0.008, 0.05)
    return np.column_stack([at[:, 0] % math.tau, at[:, 1] % PERIOD, radius]).astype(np.float32)


def _bubbles_in(bubbles: Plane, shot: Shot, camera: Camera, optics: Optics) -> Iterator[tuple[float, float, float]]:
    """(x, y, radius) in pixels of the bubbles that the shot shows; hidden ones and ones under polyps are left out."""
    ahead = (bubbles[:, 1] - camera.z) % PERIOD
    near = ahead < 2.2
    theta, ahead, size = bubbles[near, 0], ahead[near], bubbles[near, 2]
    points = np.array([camera.point(float(a), camera.z + float(z), 0.97) for a, z in zip(theta, ahead, strict=True)])
    if not len(points):
        return
    away = np.linalg.norm(points, axis=1)
    at = optics.project(points.astype(np.float32) @ camera.rotation())
    h, w = shot.label.shape
    for (x, y), distance, radius in zip(at.tolist(), away.tolist(), size.tolist(), strict=True):
        column, row = int(x), int(y)
        if not (0 <= column < w and 0 <= row < h) or shot.label[row, column]:
            continue
        if abs(float(shot.surface.distance[row, column]) - distance) < 0.25:
            yield x, y, min(22.0, radius / distance * optics.pixels_per_radian)


def _flat_skin(polyp: Polyp, wall: Wall, camera: Camera) -> tuple[Plane, Plane]:
    """Points on a flat polyp, from the camera (N, 3), and the wall's normals there."""
    side = np.linspace(-1, 1, 25) * polyp.extent
    u, v = (a.ravel().astype(np.float32) for a in np.meshgrid(side, side))
    height, q = relief(polyp, u, v)
    own = np.flatnonzero(q <= 1)
    points, normals = [], []
    for index in own:
        theta, z = polyp.theta + float(u[index]), polyp.z + float(v[index])
        points.append(camera.point(theta, z, 1 - wall.stands_in(theta, z) - float(height[index])))
        normals.append((-math.cos(theta), -math.sin(theta), 0.0))
    return np.array(points, np.float32), np.array(normals, np.float32)
