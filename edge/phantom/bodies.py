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
        """Put the body before the wall, in place of `surface`. Returns where: window, pixels that see it (bool), and
        how much of each is head rather than stalk (float32)."""
        window = self.window(rays)
        if window is None:
            return None
        ray = rays[window]
        shape = ray.shape[:2]
        direction = ray.reshape(-1, 3) @ self.inverse
        origin = -self.foot @ self.inverse
        depth, normal, head = self._union(direction, origin)
        wall = surface.distance[window].ravel()
        seen = (depth < wall) & (depth > 0.02)
        if not seen.any():
            return None
        where = seen.reshape(shape)
        at = origin + depth[seen, None] * direction[seen]
        facing = normal[seen] @ self.inverse.T
        facing /= np.linalg.norm(facing, axis=1, keepdims=True)
        view = -ray.reshape(-1, 3)[seen]
        across = self.frame / np.linalg.norm(self.frame, axis=1, keepdims=True)
        front = (facing * view).sum(1)
        scale, spin = 2.2 * self.polyp.radius, self.polyp.seed % 997 / 100
        surface.theta[window][where] = spin + scale * (at[:, 0] + 0.4 * at[:, 2])
        surface.z[window][where] = spin + scale * (at[:, 1] - 0.4 * at[:, 2])
        surface.distance[window][where] = depth[seen]
        surface.inward[window][where] = 0.25
        for axis in (0, 1):
            surface.view[axis][window][where] = view @ across[axis] - front * (facing @ across[axis])
        surface.view[2][window][where] = front
        return window, where, head.reshape(shape)

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

    def _union(self, direction: Plane, origin: Plane) -> tuple[Plane, Plane, Plane]:
        """Depth (inf where missed), unit-space normal and head share for every ray."""
        square = (direction * direction).sum(1)
        depths, weights = [], []
        for ball in self.balls:
            to_ball = ball[:3] - origin
            middle = direction @ to_ball
            inside = middle**2 - square * (to_ball @ to_ball - ball[3] ** 2)
            hit = inside > 0
            root = np.sqrt(np.where(hit, inside, 0))
            depths.append(np.where(hit, (middle - root) / square, np.inf))
            weights.append(np.where(hit, root, 0))
        nearest = np.min(depths, axis=0)
        blend = np.float32(1 / (BLEND * self.polyp.radius))
        total, head, depth = (np.zeros_like(nearest) for _ in range(3))
        normal = np.zeros_like(direction)
        solid = np.isfinite(nearest)
        safe = np.where(solid, nearest, 0)
        for index, (ball, own, weight) in enumerate(zip(self.balls, depths, weights, strict=True)):
            share = weight * np.exp(-np.minimum((np.where(solid, own, 0) - safe) * blend, 60))
            share = np.where(np.isfinite(own), share, 0)
            reached = np.where(np.isfinite(own), own, 0)
            total += share
            depth += share * reached
            normal += share[:, None] * (origin + reached[:, None] * direction - ball[:3]) / ball[3]
            head += share * (index >= self.stalk)
        total = np.maximum(total, 1e-9)
        return np.where(solid, depth / total, np.inf).astype(np.float32), normal, (head / total).astype(np.float32)


