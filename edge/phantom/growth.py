"""Random patients: palettes and polyps drawn from ranges that cover what colonoscopes show."""

from __future__ import annotations

import math

import numpy as np

from edge.phantom.anatomy import Palette, Paris, Polyp

# Paris class -> radius (tube radii), height / radius, how much its colour differs, roughness of its surface.
HABITS: dict[Paris, tuple[tuple[float, float], tuple[float, float], float, tuple[float, float]]] = {
    Paris.IP: ((0.16, 0.36), (1.0, 1.4), 1.0, (0.6, 2.0)),
    Paris.IS: ((0.12, 0.40), (0.6, 1.0), 0.9, (0.3, 1.6)),
    Paris.IIA: ((0.16, 0.42), (0.20, 0.40), 0.8, (0.5, 2.0)),
    Paris.IIB: ((0.14, 0.30), (0.05, 0.10), 1.2, (1.0, 2.5)),
    Paris.IIC: ((0.16, 0.32), (0.12, 0.20), 1.0, (0.8, 2.0)),
}


def palette(rng: np.random.Generator) -> Palette:
    """One patient's mucosa: pink to orange, with more or less visible vessels and residue."""
    warm = rng.uniform(-1, 1)  # pink .. orange
    base = np.array([0.82, 0.355 + 0.02 * warm, 0.265 - 0.065 * warm]) * rng.uniform(0.92, 1.08)

    def near(scale: tuple[float, float, float]) -> tuple[float, float, float]:
        colour = np.clip(base * scale * rng.uniform(0.95, 1.05, 3), 0, 1)
        return float(colour[0]), float(colour[1]), float(colour[2])

    return Palette(
        base=near((1, 1, 1)),
        flush=near((0.98, 0.76, 0.78)),
        pale=near((1.13, 1.38, 1.36)),
        vessel=near((0.62, 0.24, 0.36)),
        vessel_strength=float(rng.uniform(0.25, 1.0)),
        residue=float(rng.choice((0.0, 0.15, 0.45))),
    )


def polyp(rng: np.random.Generator, number: int, paris: Paris, theta: float, z: float, size: float = 1.0) -> Polyp:
    """A polyp of this Paris class at (theta, z), its other traits drawn from `HABITS`."""
    radii, heights, difference, grains = HABITS[paris]
    radius = float(rng.uniform(*radii)) * size
    reddish = rng.uniform(-0.35, 1)  # some adenomas are redder than the mucosa, serrated ones are paler
    strength = 0.30 * difference * rng.uniform(0.5, 1.1)
    tint = (1.0 - 0.10 * strength * reddish, 1.0 - strength * reddish, 1.0 - 0.8 * strength * reddish)
    lobes = rng.normal(0, (0.08, 0.05, 0.03, 0.02))
    return Polyp(
        id=number,
        paris=paris,
        theta=theta,
        z=z,
        radius=radius,
        stretch=float(rng.uniform(1.0, 1.5)),
        turn=float(rng.uniform(0, math.pi)),
        height=radius * float(rng.uniform(*heights)),
        lobes=tuple(float(a) for a in np.clip(lobes, -0.12, 0.12)),
        tint=tint,
        grain=float(rng.uniform(*grains)),
        seed=int(rng.integers(1 << 30)),
    )
