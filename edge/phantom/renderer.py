"""One frame: the tube, the polyps on it, and the tower's light."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.phantom.anatomy import ATLAS, PERIOD, SLOPE_STEP, STANDING, Polyp, Wall, relief, seam
from edge.phantom.bodies import Body
from edge.phantom.noise import Plane, plane, split
from edge.phantom.optics import Optics
from edge.phantom.tube import Camera, Surface, Tube, wrapped
from edge.types import Struct

FILM = np.float32(3.0)  # slope of the fluid's surface / slope of the mucosa's
AHEAD = (-1.8, 4.0)  # polyps this far along the tube from the camera are looked at, radii
VEIL = (0.055, 0.024, 0.018)  # light scattered in the lens: no part of the picture is quite black
STRIP = 32
SAMPLE = np.s_[::4, ::4]  # the exposure is measured on every fourth pixel
DUSK, DARK = 1.8, 3.7  # radii: where the light begins to fade, and where it ends
SHOWN = 2.8  # radii: a polyp beyond is too dark to be seen
PER_ROW, PER_COLUMN = np.float32(ATLAS[0] / PERIOD), np.float32(ATLAS[1] / math.tau)


class Light(Struct, frozen=True, kw_only=True):
    """The tower's light: mean luma that its exposure aims at (0..1), white balance (RGB factors), wetness."""

    exposure: float = 0.42
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gloss: float = 1.0


class Shot:
    """One rendered field: `rgb` uint8 (h, w, 3), `label` int16 (h, w): polyp id or 0, and the `surface` seen."""

    __slots__ = ("label", "rgb", "surface")

    def __init__(self, rgb: NDArray[np.uint8], label: NDArray[np.int16], surface: Surface) -> None:
        self.rgb, self.label, self.surface = rgb, label, surface


class Material:
    """What the surface is made of where it differs from plain mucosa; float32 planes, changed in place."""

    __slots__ = ("grain", "label", "shade", "tint", "wet")

    def __init__(self, shape: tuple[int, int]) -> None:
        self.tint = [np.ones(shape, np.float32) for _ in range(3)]
        self.grain = np.ones(shape, np.float32)
        self.shade = np.ones(shape, np.float32)
        self.wet = np.ones(shape, np.float32)
        self.label = np.zeros(shape, np.int16)


class Renderer:
    """Renders a `wall` through `optics`. Frames do not depend on each other. One thread."""

    def __init__(self, optics: Optics, wall: Wall) -> None:
        self.optics, self.wall, self.tube = optics, wall, Tube(wall)

    def shoot(self, camera: Camera, polyps: tuple[Polyp, ...], light: Light) -> Shot:
        """Render one frame of the field."""
        near = [p for p in polyps if AHEAD[0] < p.z - camera.z < AHEAD[1]]
        rays = plane(cv2.transform(self.optics.rays, camera.rotation()))
        surface = self.tube.look(camera, rays, tuple(p for p in near if p.paris not in STANDING))
        material = Material(surface.z.shape)
        for polyp in near:
            self._rest(polyp, surface, material)
        for polyp in near:
            if polyp.paris in STANDING:
                self._stand(Body(polyp, self.wall, camera), rays, surface, material)
        material.label *= self.optics.mask
        material.label[surface.distance > SHOWN] = 0
        return Shot(self._light(surface, material, light), material.label, surface)

    def _rest(self, polyp: Polyp, surface: Surface, material: Material) -> None:
        """A flat polyp's colour, or a standing one's contact shadow, on the wall it sits on."""
        u = wrapped(surface.theta - np.float32(polyp.theta))
        near = (np.abs(surface.z - np.float32(polyp.z)) < polyp.extent) & (np.abs(u) < polyp.extent)
        x, y, w, h = cv2.boundingRect(near.astype(np.uint8))
        if not w:
            return
        box = np.s_[y : y + h, x : x + w]
        inside = near[box]
        _, q = relief(polyp, u[box], surface.z[box] - np.float32(polyp.z))
        depth = 0.45 if polyp.paris in STANDING else 0.8 * min(0.5, polyp.height / polyp.radius)
        ring = np.where(inside, np.exp(-(((q - 1.0) / 0.22) ** 2)), 0)
        material.shade[box] *= 1 - np.float32(depth) * ring
        if polyp.paris in STANDING:
            return
        own = np.where(inside, np.clip((1.03 - q) / 0.16, 0, 1), 0)
        for channel, factor in zip(material.tint, polyp.tint, strict=True):
            channel[box] *= 1 + own * np.float32(factor - 1)
        material.grain[box] += own * np.float32(polyp.grain)
        material.label[box][inside & (q <= 1)] = polyp.id

    def _stand(self, body: Body, rays: Plane, surface: Surface, material: Material) -> None:
        cast = body.cast(rays, surface)
        if cast is None:
            return
        window, seen, head = cast
        for channel, factor in zip(material.tint, body.polyp.tint, strict=True):
            channel[window][seen] = 1 + head * np.float32(factor - 1)
        material.grain[window][seen] = 0.8 + head * np.float32(body.polyp.grain)
        material.shade[window][seen] = 1
        material.wet[window][seen] = 2.0
        material.label[window][seen] = body.polyp.id

    def _light(self, surface: Surface, material: Material, light: Light) -> NDArray[np.uint8]:
        """Colour times light through the tower's tone curve; uint8 (h, w, 3), black outside the field."""
        rows, columns = seam(surface.z * PER_ROW, ATLAS[0]), seam(surface.theta * PER_COLUMN, ATLAS[1])
        *colour, wet = split(cv2.remap(self.wall.albedo, columns, rows, cv2.INTER_LINEAR))
        slope_u, slope_v = (plane(cv2.remap(part, columns, rows, cv2.INTER_LINEAR)) for part in self.wall.slope)

        def radiance(part: tuple[slice, slice]) -> tuple[Plane, Plane]:
            return self._radiance(surface, material, wet[part], (slope_u[part], slope_v[part]), part)

        lit, _ = radiance(SAMPLE)
        mean = cv2.mean(lit * colour[0][SAMPLE], self.optics.mask[SAMPLE].copy())[0] / 255 * 0.62
        gain = np.float32(-math.log(1 - light.exposure) / max(mean, 1e-4))
        planes = [np.empty(surface.z.shape, np.uint8) for _ in range(3)]
        for top in range(0, surface.z.shape[0], STRIP):  # strips stay in the cache: 1.1 times as fast
            part = np.s_[top : top + STRIP, :]
            lit, glance = radiance(part)
            lit *= gain
            lit /= 1 + np.float32(0.16) * lit
            glance *= np.clip(lit * 1.6, 0, 3) * np.float32(light.gloss)
            # Tissue soaks up green and blue: the darker, the redder.
            deep = lit * (0.78 + 0.22 * np.clip(lit, 0, 1))
            inside = self.optics.mask[part]
            for index in range(3):
                gain_of = np.float32(-1.15 / 255 * light.balance[index])
                exposed = colour[index][part] * material.tint[index][part] * (deep if index else lit) * gain_of
                tone = 255 - 255 * cv2.exp(exposed - glance - np.float32(VEIL[index] * 2 * light.exposure))
                np.multiply(tone.astype(np.uint8), inside, out=planes[index][part])
        return np.asarray(cv2.merge(planes), np.uint8)

    def _radiance(
        self,
        surface: Surface,
        material: Material,
        wetness: Plane,
        slope: tuple[Plane, Plane],
        part: tuple[slice, slice],
    ) -> tuple[Plane, Plane]:
        """Light that a part of the picture sends back before exposure, and its mirror reflections 0..1."""
        around, along, normal = (whole[part] for whole in surface.view)
        rough = material.grain[part] * np.float32(SLOPE_STEP)
        slope_u, slope_v = ((counts - np.float32(128)) * rough for counts in slope)
        lean = slope_u * around + slope_v * along
        steep = slope_u * slope_u + slope_v * slope_v
        facing = np.clip((normal - lean) / np.sqrt(1 + steep), 0.02, 1)
        distance = surface.distance[part]
        square = distance * distance
        lit = facing * self.optics.vignette[part] * (0.8 + 0.5 * np.clip(surface.inward[part], -0.3, 0.5))
        lit /= square + np.float32(0.10)
        # Light that scattered inside the mucosa and between the walls: soft, red, and never quite zero.
        lit += np.float32(0.08) / (square + 1)
        fade = np.clip((DARK - distance) / (DARK - DUSK), 0.2, 1)
        lit *= material.shade[part] * fade * fade
        wet = wetness * (material.wet[part] * np.float32(1 / 255))
        # The film of fluid is bumpier than the tissue under it: glints are small, sharp and in clusters.
        mirror = (normal - FILM * lean) / np.sqrt(1 + FILM * FILM * steep)
        glance = np.clip((mirror - (0.999 - 0.012 * wet)) * 160, 0, 1) * np.clip(wet * 3 - 0.6, 0, 1)
        glance *= np.clip(2.4 - distance, 0, 1)
        return lit, glance
