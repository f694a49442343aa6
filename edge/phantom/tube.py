"""The tube's inside seen from a camera in it: which wall point does a ray meet first?

A viewing ray stays in the half plane spanned by the ray and the straight axis through the camera (a "column"). In that
half plane the wall is a curve `s(z)`, its distance from the axis, seen under the angle `alpha = atan2(s, z)`. What
hides what is then the running minimum of `alpha` along z: exact occlusion of folds without a mesh, in a few numpy
passes over (STEPS, COLUMNS) planes.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.phantom.anatomy import FOLDS, PERIOD, Polyp, Wall, relief, seam
from edge.phantom.noise import Plane, plane, split
from edge.types import Struct

COLUMNS = 480
STEPS = 300  # samples of the wall along each column, evenly spaced in viewing angle
SIGHT = (math.radians(122), math.radians(4.5))  # from behind the camera's shoulder to far ahead
BLIND = 9.0  # radii: nothing is seen beyond
EPSILON = np.float32(1e-3)


class Camera(Struct, frozen=True, kw_only=True):
    """Where the lens is. `z` and `x`, `y` (right, down from the tube's axis) in tube radii, angles in radians.

    `bend`: the tube's curvature ahead (x, y), in 1 / radii.
    """

    z: float
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    bend: tuple[float, float] = (0.0, 0.0)

    def rotation(self) -> NDArray[np.float32]:
        """Camera to tube coordinates, (3, 3)."""
        cy, sy, cp, sp = math.cos(self.yaw), math.sin(self.yaw), math.cos(self.pitch), math.sin(self.pitch)
        cr, sr = math.cos(self.roll), math.sin(self.roll)
        yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return plane(yaw @ pitch @ roll)

    def point(self, theta: float, z: float, radius: float) -> NDArray[np.float64]:
        """A point of the tube (`radius` from its axis) in coordinates that start at the camera, (3,)."""
        ahead = z - self.z
        shift = max(ahead, 0.0) ** 2 / 2
        return np.array(
            [
                radius * math.cos(theta) - self.x + self.bend[0] * shift,
                radius * math.sin(theta) - self.y + self.bend[1] * shift,
                ahead,
            ]
        )


class Surface:
    """What every pixel sees, float32 planes of the rays' shape.

    `z`, `theta`: the wall point. `distance` from the lens. `inward`: how far the wall stands in there.
    `view`: direction to the lens in the surface's frame: along theta, along z, along its normal.
    """

    __slots__ = ("distance", "inward", "theta", "view", "z")

    def __init__(self, z: Plane, theta: Plane, distance: Plane, inward: Plane, view: list[Plane]) -> None:
        self.z, self.theta, self.distance, self.inward, self.view = z, theta, distance, inward, view


class Tube:
    """Looks into a wall. Keeps constants only; one thread."""

    def __init__(self, wall: Wall) -> None:
        self._folds = wall.inward
        alpha = np.linspace(SIGHT[0], SIGHT[1], STEPS)
        self._ahead = (1 / np.tan(alpha)).astype(np.float32)[:, None]
        self._full = np.broadcast_to(self._ahead, (STEPS, COLUMNS)).copy()
        self._phi = (np.arange(COLUMNS, dtype=np.float32) * np.float32(math.tau / COLUMNS))[None]
        self._cos, self._sin = np.cos(self._phi), np.sin(self._phi)
        # One monotonous axis for all columns, so that a single np.interp inverts every column at once.
        self._apart = 4.0 * np.arange(COLUMNS)[:, None]
        self._wanted = (self._apart - alpha[None]).ravel()
        self._steps = np.tile(np.arange(STEPS, dtype=np.float64), COLUMNS)

    def look(self, camera: Camera, rays: Plane, polyps: tuple[Polyp, ...]) -> Surface:
        """The wall as `rays` (H, W, 3, in tube directions) meet it. Flat `polyps` are part of the wall's relief."""
        surface, view, hit = self._columns(camera, polyps)
        x, y, ahead = split(rays)
        off_axis, turn = cv2.cartToPolar(x, y)
        phi = plane(turn)
        column = phi * np.float32(COLUMNS / math.tau)
        angle = plane(cv2.phase(ahead, off_axis))
        row = (np.float32(SIGHT[0]) - angle) * np.float32((STEPS - 1) / (SIGHT[0] - SIGHT[1]))
        step = pick(hit, column, np.clip(row, 0, STEPS - 1))
        z, swing, distance, inward = split(pick(surface, column, step))
        theta = phi + swing
        z += np.float32(camera.z)
        return Surface(z, theta, distance, inward, split(pick(view, column, step))[:3])

    def _columns(self, camera: Camera, polyps: tuple[Polyp, ...]) -> tuple[Plane, Plane, Plane]:
        """(z, theta - phi, distance, inward), the view direction, and `hit`: (angle, column) -> step met first.

        The first column is repeated at the end, so that bilinear look-ups may cross it.
        """
        shift = np.clip(self._ahead, 0, None) ** 2 / 2
        offset_x = np.float32(camera.x) - np.float32(camera.bend[0]) * shift
        offset_y = np.float32(camera.y) - np.float32(camera.bend[1]) * shift
        along = offset_x * self._cos + offset_y * self._sin
        away = offset_x**2 + offset_y**2
        room = along * along - away
        first = np.sqrt(np.maximum(room + 1, 0)) - along
        theta = plane(cv2.phase(first * self._cos + offset_x, first * self._sin + offset_y))
        inward = self._inward(theta, camera.z, polyps)
        left = room + (1 - inward) ** 2
        s = np.maximum(np.sqrt(np.maximum(left, 0)) - along, EPSILON)
        s[left <= 0] = EPSILON
        # Where the bend has carried the lumen off the camera's axis, the tube ends in the dark.
        gone = ((away > 0.64) | (self._ahead > BLIND))[:, 0]
        s[gone] = EPSILON
        distance = plane(cv2.magnitude(s, self._full))
        distance[gone] = BLIND
        swing = theta - self._phi
        swing += np.float32(math.tau) * ((swing < -math.pi).astype(np.float32) - (swing > math.pi))
        surface = plane(cv2.merge([self._full, swing, distance, inward]))
        return _closed(surface), _closed(self._view(s, distance)), _closed(self._first_hit(s))

    def _inward(self, theta: Plane, camera_z: float, polyps: tuple[Polyp, ...]) -> Plane:
        columns = theta * np.float32(FOLDS[1] / math.tau)
        rows = seam((self._full + np.float32(camera_z % PERIOD)) * np.float32(FOLDS[0] / PERIOD), FOLDS[0])
        inward = pick(self._folds, columns, rows)
        for polyp in polyps:
            v_all = self._ahead + np.float32(camera_z - polyp.z)
            rows_in = np.flatnonzero(np.abs(v_all[:, 0]) < polyp.extent)
            if not rows_in.size:
                continue
            band = slice(int(rows_in[0]), int(rows_in[-1]) + 1)
            u = wrapped(theta[band] - np.float32(polyp.theta))
            picked = np.abs(u) < polyp.extent
            v = np.broadcast_to(v_all[band], u.shape)[picked]
            inward[band][picked] += relief(polyp, u[picked], v)[0]
        return inward

    def _view(self, s: Plane, distance: Plane) -> Plane:
        ahead = self._full
        s_z = np.empty_like(s)
        s_z[1:-1] = (s[2:] - s[:-2]) / (ahead[2:] - ahead[:-2])
        s_z[0], s_z[-1] = s_z[1], s_z[-2]
        s_phi = (np.roll(s, -1, 1) - np.roll(s, 1, 1)) * np.float32(COLUMNS / math.tau / 2)
        near = 1 / distance
        around = cv2.magnitude(s, s_phi)
        normal = cv2.magnitude(around, s * s_z)
        along = np.sqrt(1 + s_z * s_z)
        parts = [-s * s_phi / around * near, -(s * s_z + ahead) / along * near, s * (s - ahead * s_z) / normal * near]
        parts.append(distance)  # unused: OpenCV looks up four channels twice as fast as three
        return plane(cv2.merge(parts))

    def _first_hit(self, s: Plane) -> Plane:
        alpha = plane(cv2.phase(self._full, s))
        front = int(np.searchsorted(self._ahead[:, 0], 0))
        alpha[front:] = np.minimum.accumulate(alpha[front:], axis=0)
        alpha[:front] = np.maximum.accumulate(alpha[:front][::-1], axis=0)[::-1]
        hit = np.interp(self._wanted, (self._apart - alpha.T).ravel(), self._steps).reshape(COLUMNS, STEPS)
        return hit.T.astype(np.float32)


def wrapped(angle: Plane) -> Plane:
    """An angle between -2 pi and 4 pi brought to about -pi..pi."""
    turns = np.rint(angle * np.float32(1 / math.tau))
    return plane(angle - np.float32(math.tau) * turns)


def pick(planes: Plane, column: Plane, row: Plane) -> Plane:
    """Bilinear look-up; coordinates have to lie inside, or it takes several times as long."""
    return plane(cv2.remap(planes, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _closed(planes: Plane) -> Plane:
    return np.concatenate([planes, planes[:, :1]], axis=1)
