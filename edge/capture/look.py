"""What one picture is: a moving one, the last one again, black, one colour, colour bars. Pixels in host memory.

Asked of every picture before it may be handed out, so it reads a few thousand of them, and all of them once for the
question "is this the last one again?".
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge.capture.evidence import Look

BLACK_MOST = 24  # of 255: video black and a transmitter's rounding; an endoscope's dark is noisier
FLAT_MOST = 6  # between the brightest and the darkest pixel, in each channel
FLAT_SHARE = 0.97  # of the field; the rest may be what a placeholder says of itself
STRIPE_MOST = 12  # ... within one column of a stripe
STRIPE_STEP = 24  # between the colours of two stripes, the largest of the channels
STRIPES = 4
UPRIGHT = 0.9  # of all columns are of one colour each; the others are edges
MIDDLE = slice(0.25, 0.6), slice(0.1, 0.9)  # rows, columns: inside a round field, above what SMPTE has under its bars


class Looker:
    """Owner: the thread that pulls. Remembers the last picture's digest."""

    def __init__(self, width: int, height: int, step: int = 4) -> None:
        """`step`: of the pixels that are read, in both directions; 1 for tiny pictures."""
        self._step = step
        rng = np.random.default_rng(0)
        # Sum of words times odd weights, modulo 2**64: pictures that differ in one word never collide.
        self._weights = rng.integers(0, 2**63, width * height // 2, dtype=np.uint64) * 2 + 1
        self._last: int | None = None

    def look(self, image: Any) -> Look:
        """`image`: RGBA uint8 (H, W, 4), black outside the field. W is even."""
        pixels = np.asarray(image)
        digest = int(np.dot(pixels.reshape(-1).view(np.uint64), self._weights))
        repeated, self._last = digest == self._last, digest
        if pixels[:: self._step, :: self._step, :3].max() <= BLACK_MOST:
            return Look.BLACK
        placeholder = _placeholder(pixels, self._step)
        if placeholder is not None:
            return placeholder
        return Look.REPEATED if repeated else Look.MOVING


def _everywhere(pixels: npt.NDArray[np.uint8], colour: npt.NDArray[np.float64], step: int) -> bool:
    """Whether nearly all of the field has that colour. Outside the field all four channels are 0."""
    some = pixels[::step, ::step].astype(np.int16)
    alike = np.asarray((np.abs(some[:, :, :3] - colour) <= FLAT_MOST).all(axis=2))
    return bool(alike[some.any(axis=2)].mean() >= FLAT_SHARE)


def _placeholder(pixels: npt.NDArray[np.uint8], step: int) -> Look | None:
    height, width = pixels.shape[:2]
    rows, columns = (
        slice(int(part.start * length), int(part.stop * length))
        for part, length in zip(MIDDLE, (height, width), strict=True)
    )
    middle = pixels[rows, columns, :3][::step, :: max(1, step // 2)].astype(np.int16)
    low, high = middle.min(axis=0), middle.max(axis=0)  # (columns, 3)
    if (high.max(axis=0) - low.min(axis=0)).max() <= FLAT_MOST:
        return Look.FLAT if _everywhere(pixels, middle.mean(axis=(0, 1)), step) else None
    upright = (high - low).max(axis=1) <= STRIPE_MOST
    if upright.mean() < UPRIGHT:
        return None
    colours = ((low + high) // 2)[upright]
    steps = np.abs(np.diff(colours, axis=0)).max(axis=1) >= STRIPE_STEP
    return Look.BARS if int(steps.sum()) >= STRIPES - 1 else None
