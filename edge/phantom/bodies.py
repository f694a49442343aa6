"""Polyps that stand up from the wall (0-Is, 0-Ip): smooth unions of balls, cast per pixel.

A polyp's balls live in its own unit space: x around the tube, y along it, z away from the wall, 1 = its radius.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge.phantom.anatomy import Paris, Polyp, Wall
from edge.phantom.noise import Plane
from edge.phantom.tube import Camera, Surface

Balls = NDArray[np.float32]  # (N, 4): centre x, y, z and radius
FAR = 1e3
NEAREST = 0.02  # radii: what is closer to the lens than this is not seen
BLEND = 0.10  # how far, in polyp radii, neighbouring lobes melt into each other


def balls_of(polyp: Polyp) -> tuple[Balls, int]:
    """The polyp's balls, and how many of them (the first ones) are stalk."""
    rng = np.random.default_rng((polyp.seed, 0xBA11))
    tall = polyp.height / polyp.radius
    stalk: list[tuple[float, ...]] = []
    if polyp.paris is Paris.IP:
        heading, bow = rng.uniform(0, math.tau), rng.uniform(0.3, 1.0)
        top = (bow * math.cos(heading), bow * math.sin(heading), tall + 0.45)
        thick = rng.uniform(0.34, 0.46)
        for t in np.linspace(0, 0.9, 7):
            stalk.append((top[0] * t * t, top[1] * t * t, top[2] * t, thick * (1 + 0.5 * (1 - t) ** 3)))
        head = (*top, 0.95)
    else:
        head = (0.0, 0.0, tall - 1.0, 1.0)
    balls = [*stalk, head]
    for _ in range(int(rng.choice((0, 0, 1, 2, 4)))):
        angle, off, size = rng.uniform(0, math.tau), rng.uniform(0.45, 0.75), rng.uniform(0.42, 0.68)
        lift = rng.uniform(-0.1, 0.5)
        balls.append((head[0] + off * math.cos(angle), head[1] + off * math.sin(angle), head[2] + lift, size))
    return np.array(balls, np.float32), len(stalk)


class Body:
    """One standing polyp before one camera: its pose, ready to be cast."""

    def __init__(self, polyp: Polyp, wall: Wall, camera: Camera) -> None:
        self.polyp = polyp
        self.balls, self.stalk = balls_of(polyp)
        theta, z = polyp.theta, polyp.z
        self.foot = camera.point(theta, z, 1 - wall.stands_in(theta, z) + 0.12 * polyp.radius).astype(np.float32)
        around = np.array([-math.sin(theta), math.cos(theta), 0.0])
        along = np.array([0.0, 0.0, 1.0])
        inward = np.array([-math.cos(theta), -math.sin(theta), 0.0])
        cos, sin, root = math.cos(polyp.turn), math.sin(polyp.turn), math.sqrt(polyp.stretch)
        axes = np.stack([(cos * around + sin * along) * root, (cos * along - sin * around) / root, inward])
        self.frame = (axes * polyp.radius).astype(np.float32)  # unit space -> tube, rows are its axes
        self.inverse = np.linalg.inv(self.frame).astype(np.float32)  # tube -> unit space
        self.reach = float(polyp.radius * root * (np.linalg.norm(self.balls[:, :3], axis=1) + self.balls[:, 3]).max())

    def window(self, rays: Plane) -> tuple[slice, slice] | None:
        """The part of the picture that the body can cover, or None."""
        away = float(np.linalg.norm(self.foot))
        if away <= self.reach:
            return (slice(0, rays.shape[0]), slice(0, rays.shape[1]))
        toward = (self.foot / away).astype(np.float32)
        cosine = math.cos(min(math.asin(self.reach / away) * 1.05 + 0.02, math.pi))
        coarse = rays[::4, ::4] @ toward > cosine
        rows, columns = np.flatnonzero(coarse.any(1)), np.flatnonzero(coarse.any(0))
        if not rows.size:
            return None
        return (
            slice(max(0, 4 * int(rows[0]) - 4), 4 * int(rows[-1]) + 8),
            slice(max(0, 4 * int(columns[0]) - 4), 4 * int(columns[-1]) + 8),
        )

    def cast(self, rays: Plane, surface: Surface) -> tuple[tuple[slice, slice], NDArray[np.bool_], Plane] | None:
        """Put the body before the wall, in place of `surface`. Returns where: window, the pixels in it that see the
        body (bool), and how much of each of these is head rather than stalk (float32, flat)."""
        window = self.window(rays)
        if window is None:
            return None
        ray = np.ascontiguousarray(rays[window].reshape(-1, 3).T)
        hit, depth, normal, head = self._union(self.inverse.T @ ray)
        before = (depth < surface.distance[window].ravel()[hit]) & (depth > NEAREST)
        hit, depth, normal, head = hit[before], depth[before], normal[:, before], head[before]
        if not hit.size:
            return None
        where = np.zeros(surface.z[window].shape, bool)
        where.ravel()[hit] = True
        view = -ray[:, hit]
        at = self._origin()[:, None] - depth * (self.inverse.T @ view)
        facing = self.inverse @ normal
        facing /= np.sqrt((facing * facing).sum(0))
        across = self.frame / np.linalg.norm(self.frame, axis=1, keepdims=True)
        front = (facing * view).sum(0)
        scale, spin = 2.2 * self.polyp.radius, self.polyp.seed % 997 / 100
        surface.theta[window][where] = spin + scale * (at[0] + 0.4 * at[2])
        surface.z[window][where] = spin + scale * (at[1] - 0.4 * at[2])
        surface.distance[window][where] = depth
        surface.inward[window][where] = 0.25
        for axis in (0, 1):
            surface.view[axis][window][where] = across[axis] @ view - front * (across[axis] @ facing)
        surface.view[2][window][where] = front
        return window, where, head

    def skin(self) -> tuple[Plane, Plane]:
        """Points spread over the body's outside, from the camera (N, 3), and their outward normals."""
        index = np.arange(160) + 0.5
        tilt, turn = np.arccos(1 - 2 * index / 160), math.pi * (1 + math.sqrt(5)) * index
        ball = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)], axis=1)
        points = (self.balls[:, None, :3] + self.balls[:, None, 3:] * ball[None]).reshape(-1, 3)
        normals = np.tile(ball, (len(self.balls), 1))
        off = np.linalg.norm(points[:, None] - self.balls[None, :, :3], axis=2) - self.balls[None, :, 3]
        outside = (off.min(axis=1) > -1e-3) & (points[:, 2] > 0.05)
        turned = normals[outside] @ self.inverse.T
        return (points[outside] @ self.frame + self.foot).astype(np.float32), turned.astype(np.float32)

    def _origin(self) -> Plane:
        """The camera in unit space, (3,)."""
        return np.asarray(-self.foot @ self.inverse, np.float32)

    def _union(self, direction: Plane) -> tuple[NDArray[np.intp], Plane, Plane, Plane]:
        """Which of the rays (3, N) in unit space hit the body; their depth, unit-space normal (3, n), head share."""
        origin, centres, radii = self._origin(), self.balls[:, :3], self.balls[:, 3:]
        to_ball = centres - origin
        square = (direction * direction).sum(0)
        middle = to_ball @ direction
        inside = middle * middle - square * ((to_ball * to_ball).sum(1, keepdims=True) - radii * radii)
        hit = np.flatnonzero((inside > 0).any(0))
        inside, direction, square = inside[:, hit], direction[:, hit], square[hit]
        root = np.sqrt(np.maximum(inside, 0))
        depth = np.where(inside > 0, (middle[:, hit] - root) / square, np.float32(FAR))
        # Lobes melt into each other: every ball counts, the less the farther it lies behind the nearest.
        late = (depth.min(0) - depth) * np.float32(1 / (BLEND * self.polyp.radius))
        share = root * np.exp(np.maximum(late, -60))
        share /= np.maximum(share.sum(0), 1e-9)
        weight = share / radii
        depth = (share * depth).sum(0)
        normal = weight.sum(0) * (origin[:, None] + depth * direction) - centres.T @ weight
        return hit, depth, normal, share[self.stalk :].sum(0)
