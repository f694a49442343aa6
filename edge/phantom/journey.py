"""The examination as a function of time: where the camera is, what it meets, and when the view is lost. Pure.

A clip begins black, shows the room, goes in a little way, and comes back out past the polyps: the camera slows down
and turns to each, then moves on. Between polyps there is clean mucosa or, sometimes, a passage of poor view.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge.phantom import growth
from edge.phantom.anatomy import Paris, Polyp, Wall
from edge.phantom.script import Script
from edge.phantom.tube import Camera
from edge.types import Struct, View

SPACING_S = 6.0  # from one polyp to the next
DWELL_S = 2.1  # slow passage at a polyp
INSERT_S = 2.0  # the way in, before the withdrawal
PASSAGE_S = 1.4  # of poor view
EASE_S = 0.5  # from fast to slow and back
FAST, SLOW, INWARD = -1.35, -0.10, 0.8  # radii / s; withdrawal is negative
RATE = 100  # samples of the path per second
REASONS = ("bubbles", "blur", "glare", "dark")
ORDER = (Paris.IS, Paris.IP, Paris.IIA, Paris.IS, Paris.IIC, Paris.IP, Paris.IIA, Paris.IS, Paris.IIB)


class Passage(Struct, frozen=True, kw_only=True):
    """A stretch of one condition, seconds."""

    start: float
    end: float
    view: View
    reason: str = ""

    def strength(self, t: float) -> float:
        """0 outside, rising to 1 within `EASE_S` at both ends."""
        return float(np.clip(min(t - self.start, self.end - t) / EASE_S, 0, 1))


class Moment(Struct, frozen=True, kw_only=True):
    """All that one frame needs to be drawn. `strength` (0..1) tells how bad `reason` is."""

    t: float
    view: View
    reason: str
    strength: float
    camera: Camera
    drift: tuple[float, float]  # turning speed (yaw, pitch), radians / s


class Journey:
    """Polyps, passages and path of one script; `at` may be asked in any order."""

    def __init__(self, script: Script, wall: Wall) -> None:
        rng = np.random.default_rng((script.seed, 0x10A7))
        self.script = script
        opening, closing = _frame_of(script)
        self.passages = _rooms(script, opening, closing)
        first = opening + min(INSERT_S, 0.12 * script.seconds)
        self.meets = _meets(rng, first + 3.8, closing - 2.3)
        if script.passages:
            self.passages += _poor(rng, self.meets)
        self._path = _path(script, opening, first, self.meets)
        self.polyps = tuple(self._grow(rng, wall, index, t) for index, t in enumerate(self.meets))
        self._waves = rng.uniform(0, math.tau, 10)

    def at(self, t: float) -> Moment:
        """The moment `t` seconds into the clip."""
        view, reason, strength = View.GOOD, "", 0.0
        for passage in self.passages:
            if passage.start <= t < passage.end:
                strength = passage.strength(t) if passage.reason else 1.0
                if strength >= 0.5:
                    view = passage.view
                reason = passage.reason
        camera, later = self._camera(t), self._camera(t + 0.02)
        drift = ((later.yaw - camera.yaw) / 0.02, (later.pitch - camera.pitch) / 0.02)
        return Moment(t=t, view=view, reason=reason, strength=strength, camera=camera, drift=drift)

    def _z(self, t: float) -> float:
        return float(np.interp(t * RATE, np.arange(self._path.size), self._path))

    def _grow(self, rng: np.random.Generator, wall: Wall, index: int, t: float) -> Polyp:
        """The polyp met at `t`, a little ahead of the camera and clear of the folds."""
        z = self._z(t) + float(rng.uniform(0.75, 0.95))
        around = rng.uniform(0, math.tau, 8)
        theta = float(min(around, key=lambda a: max(wall.stands_in(a, z + dz) for dz in (-0.3, -0.15, 0.0, 0.15))))
        paris = ORDER[(index + self.script.seed) % len(ORDER)]
        return growth.polyp(rng, index + 1, paris, theta, z, float(rng.uniform(0.9, 1.25)))

    def _camera(self, t: float) -> Camera:
        w, z = self._waves, self._z(t)
        x = 0.10 * math.sin(1.1 * t + w[0]) + 0.06 * math.sin(2.3 * t + w[1])
        y = 0.10 * math.sin(0.9 * t + w[2]) + 0.06 * math.sin(1.9 * t + w[3])
        yaw = 0.16 * math.sin(0.8 * t + w[4]) + 0.06 * math.sin(2.1 * t + w[5])
        pitch = 0.16 * math.sin(0.7 * t + w[6]) + 0.06 * math.sin(1.7 * t + w[7])
        for polyp, met in zip(self.polyps, self.meets, strict=True):
            turn = _ease((DWELL_S / 2 + 0.6 - abs(t - met)) / 0.9)
            if turn > 0:
                side, down, ahead = math.cos(polyp.theta) * 0.8 - x, math.sin(polyp.theta) * 0.8 - y, polyp.z - z
                yaw += turn * (0.55 * math.atan2(side, max(ahead, 0.35)) - 0.6 * yaw)
                pitch += turn * (0.55 * math.atan2(down, math.hypot(side, max(ahead, 0.35))) - 0.6 * pitch)
                x += 0.12 * turn * math.cos(polyp.theta)
                y += 0.12 * turn * math.sin(polyp.theta)
        bend = self._bend(t)
        return Camera(z=z, x=x, y=y, yaw=yaw, pitch=pitch, roll=0.25 * math.sin(0.35 * t + w[1]), bend=bend)

    def _bend(self, t: float) -> tuple[float, float]:
        """Gentle at a polyp; on the way from one to the next the tube turns, and what was left behind is gone."""
        away = min((abs(t - met) for met in self.meets), default=SPACING_S)
        strength = 0.06 + 0.20 * _ease((away - DWELL_S / 2) / 1.1)
        heading = self._waves[8] + 0.9 * math.sin(0.31 * t + self._waves[9])
        return strength * math.cos(heading), strength * math.sin(heading)


def _frame_of(script: Script) -> tuple[float, float]:
    """When the colon begins and ends."""
    if not script.passages:
        return 0.0, script.seconds
    return min(2.2, 0.1 * script.seconds), script.seconds - min(1.6, 0.08 * script.seconds)


def _rooms(script: Script, opening: float, closing: float) -> tuple[Passage, ...]:
    if not script.passages:
        return ()
    lights_on = 0.4 * opening
    return (
        Passage(start=0.0, end=lights_on, view=View.BLACK),
        Passage(start=lights_on, end=opening, view=View.OUT_OF_BODY),
        Passage(start=closing, end=script.seconds + 1, view=View.OUT_OF_BODY),
    )


def _meets(rng: np.random.Generator, first: float, last: float) -> tuple[float, ...]:
    """When the camera is at each polyp."""
    count = int(max(0.0, last - first) / SPACING_S) + 1 if last > first else 0
    return tuple(float(first + index * SPACING_S + rng.uniform(-0.25, 0.25)) for index in range(count))


def _poor(rng: np.random.Generator, meets: tuple[float, ...]) -> tuple[Passage, ...]:
    """Poor view halfway between two polyps, in every third gap."""
    turn = int(rng.integers(len(REASONS)))
    found = []
    for index in range(1, len(meets) - 1, 3):
        middle = (meets[index] + meets[index + 1]) / 2 + 0.35
        reason = REASONS[(turn + index // 3) % len(REASONS)]
        found.append(Passage(start=middle - PASSAGE_S / 2, end=middle + PASSAGE_S / 2, view=View.POOR, reason=reason))
    return tuple(found)


def _path(script: Script, opening: float, turning: float, meets: tuple[float, ...]) -> NDArray[np.float64]:
    """The camera's z at `RATE` samples per second."""
    t = np.arange(int(script.seconds * RATE) + RATE) / RATE
    slow = np.zeros_like(t)
    for met in meets:
        slow = np.maximum(slow, np.clip((DWELL_S / 2 + EASE_S - np.abs(t - met)) / EASE_S, 0, 1))
    slow = slow * slow * (3 - 2 * slow)
    turned = np.clip((t - turning) / EASE_S, -1, 1)
    speed = np.where(turned < 0, -turned * INWARD, turned * (FAST + slow * (SLOW - FAST)))
    speed[t < opening] = 0
    return 40.0 + np.cumsum(speed) / RATE


def _ease(x: float) -> float:
    x = min(1.0, max(0.0, x))
    return x * x * (3 - 2 * x)
