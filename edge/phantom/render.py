"""One frame of the tube's inside, by ray casting in cylindrical columns.

A viewing ray stays in the half plane spanned by the straight axis through the camera and the ray. In that half plane
the wall is a curve `s(z)` (distance from the axis), seen under the angle `alpha = atan2(s, z)`. What hides what is then
the running minimum of `alpha` along z: exact occlusion of folds and polyps without a mesh, in a few numpy passes.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.phantom.anatomy import ATLAS, FOLDS, PERIOD, Polyp, Wall, polyp_relief
from edge.phantom.noise import Plane
from edge.phantom.optics import Optics
from edge.types import Struct

COLUMNS = 720
STEPS = 448  # samples of the wall along each column, evenly spaced in viewing angle
FILM = np.float32(3.0)  # slope of the fluid's surface / slope of the mucosa's
SIGHT = (math.radians(122), math.radians(4.5))  # from behind the camera's shoulder to far ahead


class Camera(Struct):
    """Where the lens is. `z` and `x`, `y` (from the tube's axis) in tube radii, angles in radians."""

    z: float
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def rotation(self) -> NDArray[np.float32]:
        """Camera to tube coordinates, (3, 3)."""
        cy, sy, cp, sp = math.cos(self.yaw), math.sin(self.yaw), math.cos(self.pitch), math.sin(self.pitch)
        cr, sr = math.cos(self.roll), math.sin(self.roll)
        yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return (yaw @ pitch @ roll).astype(np.float32)


class Light(Struct):
    """The tower's light and colour: exposure target (mean picture luma 0..1), white balance, contrast."""

    exposure: float = 0.42
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gloss: float = 1.0


class Shot:
    """What one rendering gives: `rgb` uint8 rect + (3,), `label` int16 rect (polyp id or 0), and the surface that
    was hit: `z`, `theta`, `distance` float32 rect."""

    __slots__ = ("distance", "label", "rgb", "theta", "z")

    def __init__(self, rgb: NDArray[np.uint8], label: NDArray[np.int16], z: Plane, theta: Plane, distance: Plane):
        self.rgb, self.label, self.z, self.theta, self.distance = rgb, label, z, theta, distance


class Renderer:
    """Casts `optics`' rays into a `wall`. Holds scratch only: frames do not depend on each other. One thread."""

    def __init__(self, optics: Optics, wall: Wall) -> None:
        self.optics, self.wall = optics, wall
        self._alpha = np.linspace(SIGHT[0], SIGHT[1], STEPS)
        self._ahead = (1 / np.tan(self._alpha)).astype(np.float32)
        phi = np.arange(COLUMNS, dtype=np.float32) * np.float32(math.tau / COLUMNS)
        self._cos, self._sin, self._phi = np.cos(phi)[None], np.sin(phi)[None], phi[None]

    def shoot(self, camera: Camera, polyps: tuple[Polyp, ...], bend: tuple[float, float], light: Light) -> Shot:
        """Render one frame. `bend` is the tube's curvature (x, y) ahead, 1 / radii."""
        near = tuple(p for p in polyps if -2 < p.z - camera.z < 7)
        surface, shading, hit = self._columns(camera, near, bend)
        x, y, ahead = cv2.split(cv2.transform(self.optics.rays, camera.rotation()))
        off_axis, phi = cv2.cartToPolar(x, y)
        column = phi * np.float32(COLUMNS / math.tau)
        row = (np.float32(SIGHT[0]) - cv2.phase(ahead, off_axis)) * np.float32((STEPS - 1) / (SIGHT[0] - SIGHT[1]))
        step = cv2.remap(hit, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        z, swing, distance, inward = cv2.split(
            cv2.remap(surface, column, step, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )
        facing = cv2.remap(shading, column, step, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        theta = phi + swing
        z += np.float32(camera.z)
        return self._paint(z, theta, distance, inward, facing, near, light)

    # ---------------------------------------------------------------------------------------- geometry

    def _columns(
        self, camera: Camera, polyps: tuple[Polyp, ...], bend: tuple[float, float]
    ) -> tuple[Plane, Plane, Plane]:
        """The wall along every column: surface (z, theta - phi, distance, inward), facing (normal, theta, z parts of
        the view direction), and `hit`: the step that a ray at (angle, column) meets first. The first column is
        repeated at the end, so that bilinear look-ups may cross it."""
        ahead = self._ahead[:, None]
        reach = np.clip(ahead, 0, None)
        offset_x = np.float32(camera.x) - np.float32(bend[0]) * reach**2 / 2
        offset_y = np.float32(camera.y) - np.float32(bend[1]) * reach**2 / 2
        along = offset_x * self._cos + offset_y * self._sin
        room = along**2 - (offset_x**2 + offset_y**2)
        first = np.sqrt(np.maximum(room + 1, 0)) - along
        theta = cv2.phase(first * self._cos + offset_x, first * self._sin + offset_y)
        inward = self._inward(theta, ahead + np.float32(camera.z), polyps)
        left = room + (1 - inward) ** 2
        s = np.maximum(np.sqrt(np.maximum(left, 0)) - along, 1e-3).astype(np.float32)
        s[(left <= 0) | (np.broadcast_to(np.hypot(offset_x, offset_y), s.shape) > 0.9) | (ahead > 9)] = 1e-3
        distance = np.hypot(s, ahead)
        facing = self._facing(s, ahead, distance)
        swing = (theta - self._phi + np.float32(math.pi)) % np.float32(math.tau) - np.float32(math.pi)
        surface = np.dstack([np.broadcast_to(ahead, s.shape), swing, distance, inward])
        return _closed(surface), _closed(facing), _closed(self._first_hit(s, ahead))

    def _inward(self, theta: Plane, z: Plane, polyps: tuple[Polyp, ...]) -> Plane:
        """How far the wall stands in at (theta, z), folds and polyps together."""
        columns = theta * np.float32(FOLDS[1] / math.tau)
        rows = np.broadcast_to(z % np.float32(PERIOD) * np.float32(FOLDS[0] / PERIOD), theta.shape).copy()
        inward = cv2.remap(self.wall.inward, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        for polyp in polyps:
            extent = polyp.radius * polyp.stretch * 1.6
            rows_in = np.flatnonzero(np.abs(z[:, 0] - polyp.z) < extent)
            if not rows_in.size:
                continue
            band = slice(int(rows_in[0]), int(rows_in[-1]) + 1)
            u = _wrapped(theta[band] - np.float32(polyp.theta))
            v = np.broadcast_to(z[band] - np.float32(polyp.z), u.shape)
            picked = np.abs(u) < extent
            relief, _ = polyp_relief(polyp, u[picked], v[picked])
            inward[band][picked] += relief
        return inward

    def _facing(self, s: Plane, ahead: Plane, distance: Plane) -> Plane:
        """The direction to the camera in each wall point's own frame: along theta, along z, along its normal."""
        s_z = np.empty_like(s)
        s_z[1:-1] = (s[2:] - s[:-2]) / (ahead[2:] - ahead[:-2])
        s_z[0], s_z[-1] = s_z[1], s_z[-2]
        s_phi = (np.roll(s, -1, 1) - np.roll(s, 1, 1)) * np.float32(COLUMNS / math.tau / 2)
        around, along = np.hypot(s, s_phi), np.hypot(np.float32(1), s_z)
        normal = np.sqrt(s**2 + s_phi**2 + (s * s_z) ** 2)
        return np.dstack(
            [
                -s * s_phi / (around * distance),
                -(s * s_z + ahead) / (along * distance),
                s * (s - ahead * s_z) / (normal * distance),
            ]
        )

    def _first_hit(self, s: Plane, ahead: Plane) -> Plane:
        """(angle, column) -> step of the first wall point that a ray at this angle meets, float32."""
        alpha = cv2.phase(np.broadcast_to(ahead, s.shape).copy(), s)
        front = int(np.searchsorted(self._ahead, 0))
        alpha[front:] = np.minimum.accumulate(alpha[front:], axis=0)
        alpha[:front] = np.maximum.accumulate(alpha[:front][::-1], axis=0)[::-1]
        # One monotonous axis for all columns, so that a single np.interp inverts every column at once.
        apart = 4.0 * np.arange(COLUMNS)[:, None]
        seen = (apart - alpha.T).ravel()
        wanted = (apart - self._alpha[None]).ravel()
        steps = np.tile(np.arange(STEPS, dtype=np.float64), COLUMNS)
        hit = np.interp(wanted, seen, steps).reshape(COLUMNS, STEPS)
        return np.clip(hit, 0, None).T.astype(np.float32)

    # ----------------------------------------------------------------------------------------- shading

    def _paint(
        self,
        z: Plane,
        theta: Plane,
        distance: Plane,
        inward: Plane,
        facing: Plane,
        polyps: tuple[Polyp, ...],
        light: Light,
    ) -> Shot:
        rows = z % np.float32(PERIOD) * np.float32(ATLAS[0] / PERIOD)
        columns = theta * np.float32(ATLAS[1] / math.tau)
        wall = cv2.remap(self.wall.albedo, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        slope = cv2.remap(self.wall.slope, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        colour = wall[..., :3].astype(np.float32) * np.float32(1 / 255)
        wet = wall[..., 3].astype(np.float32) * np.float32(1 / 255)
        label = np.zeros(z.shape, np.int16)
        for polyp in polyps:
            self._paint_polyp(polyp, z, theta, colour, slope, label)
        label *= self.optics.mask
        lean = slope[..., 0] * facing[..., 0] + slope[..., 1] * facing[..., 1]
        steep = slope[..., 0] ** 2 + slope[..., 1] ** 2
        tilt = np.clip((facing[..., 2] - lean) / np.sqrt(1 + steep), 0.02, 1)
        # The film of fluid is bumpier than the tissue under it: glints are small, sharp and in clusters.
        mirror = (facing[..., 2] - FILM * lean) / np.sqrt(1 + FILM**2 * steep)
        glance = (
            np.clip((mirror - (0.999 - 0.012 * wet)) * 160, 0, 1)
            * np.clip(wet * 3 - 0.6, 0, 1)
            * np.float32(light.gloss)
        )
        lit = tilt * self.optics.vignette * (0.8 + 0.5 * np.clip(inward, -0.3, 0.5)) / (distance**2 + np.float32(0.10))
        # Light that scattered inside the mucosa and between the walls: soft, red, and never quite zero.
        lit += 0.10 / (distance**2 + 1)
        colour *= np.array(light.balance, np.float32)
        mean = cv2.mean((colour.mean(2) * lit)[::4, ::4], self.optics.mask[::4, ::4])[0]
        gain = np.float32(-math.log(1 - light.exposure) / max(mean, 1e-4))
        lit *= gain
        lit = lit / (1 + 0.18 * lit)
        exposed = colour * lit[..., None]
        # Tissue soaks up green and blue: the darker, the redder.
        exposed[..., 1:] *= (0.80 + 0.20 * np.clip(lit, 0, 1))[..., None]
        exposed += (glance * np.clip(lit * 1.6, 0, 3))[..., None]
        rgb = (255 * (1 - np.exp(-exposed * np.float32(1.15)))) * self.optics.mask[..., None]
        return Shot(rgb.astype(np.uint8), label, z, theta, distance)

    def _paint_polyp(
        self, polyp: Polyp, z: Plane, theta: Plane, colour: Plane, slope: Plane, label: NDArray[np.int16]
    ) -> None:
        """Give the pixels of one polyp its colour, grain and contact shadow, in place."""
        extent = polyp.radius * polyp.stretch * 1.6
        u = _wrapped(theta - np.float32(polyp.theta))
        near = ((np.abs(z - np.float32(polyp.z)) < extent) & (np.abs(u) < extent)).astype(np.uint8)
        x, y, w, h = cv2.boundingRect(near)
        if not w:
            return
        box = np.s_[y : y + h, x : x + w]
        u, v = u[box], z[box] - np.float32(polyp.z)
        _, q = polyp_relief(polyp, u, v)
        q = np.where(near[box] > 0, q, 9)
        own = np.clip((1.02 - q) / 0.14, 0, 1)
        shade = 1 - 0.30 * min(1.0, polyp.height / polyp.radius) * np.exp(-(((q - 1.04) / 0.16) ** 2))
        columns = (u * np.float32(2.3 * ATLAS[1] / math.tau) + np.float32(polyp.seed % 1399)).astype(np.float32)
        rows = (v * np.float32(2.3 * ATLAS[0] / PERIOD) + np.float32(polyp.seed % 1013)).astype(np.float32)
        fine = cv2.remap(
            self.wall.slope, columns % ATLAS[1], rows % ATLAS[0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
        tint = np.array(polyp.tint, np.float32) * (1 + 0.6 * np.float32(polyp.grain) * fine[..., :1])
        colour[box] *= (1 + own[..., None] * (tint - 1)) * shade[..., None]
        slope[box] += own[..., None] * np.float32(polyp.grain) * fine
        label[box][(q <= 1) & (near[box] > 0)] = polyp.id


def _closed(plane: Plane) -> Plane:
    return np.ascontiguousarray(np.concatenate([plane, plane[:, :1]], axis=1), dtype=np.float32)


def _wrapped(angle: Plane) -> Plane:
    """To -pi..pi."""
    return ((angle + np.float32(math.pi)) % np.float32(math.tau) - np.float32(math.pi)).astype(np.float32)
