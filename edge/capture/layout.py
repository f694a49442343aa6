"""Which part of the tower's picture is the endoscope's: searched, confirmed, and watched. Fails closed. Pure.

Outside that part the tower writes the patient's name. So a field is believed when two looks at different pictures agree
on it, and it is doubted again as soon as something large shines where it should be black.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge.capture import field as fields
from edge.capture.evidence import Layout
from edge.types import Field

U8 = npt.NDArray[np.uint8]

LOOKS = 2  # that have to agree ...
PICTURES = 5  # ... on so many pictures each
LIT = 12  # mean luma under which a picture says nothing
AGREE = 0.94  # intersection over union of two fields that are one
GIVE_UP_NS = 10_000_000_000  # after so long it is said that the layout is unknown; the search goes on
GROWN = 0.02  # of the picture newly lit outside the field ...
GROWN_TIMES = 5  # ... so many times in a row: another layout


class Finder:
    """Looks for the field of a `width` x `height` px picture in small luma pictures of it."""

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._pictures: list[U8] = []
        self._found: list[Field] = []
        self._since_ns: int | None = None
        self.field: Field | None = None
        self.background: U8 | None = None
        """The brightest that each pixel was in the pictures that the field was found from."""

    def step(self, luma: U8, now_ns: int) -> Layout:
        """`luma`: uint8 (h, w), the whole picture, always of one size."""
        if self._since_ns is None:
            self._since_ns = now_ns
        if luma.mean() > LIT:
            self._pictures.append(luma)
        if len(self._pictures) == PICTURES:
            self._look()
        if self.field is not None:
            return Layout.KNOWN
        return Layout.UNKNOWN if now_ns - self._since_ns >= GIVE_UP_NS else Layout.SEARCHING

    def _look(self) -> None:
        found = fields.find(self._pictures, *self._size)
        brightest = np.maximum.reduce(self._pictures)
        self._pictures.clear()
        self._found = [one for one in self._found if found is not None and fields.overlap(one, found) >= AGREE]
        if found is None:
            self.background = None
            return
        self.background = brightest if self.background is None else np.maximum(self.background, brightest)
        self._found.append(found)
        if len(self._found) >= LOOKS:
            self.field = found


class Watch:
    """Sees that the layout is another one: something large is lit where the field's surroundings were dark."""

    def __init__(self, field: Field, width: int, height: int, background: U8) -> None:
        self._expected = np.maximum(fields.lit(background), fields.inside(field, width, height, background.shape))
        self._expected = cv2.dilate(self._expected, np.ones((5, 5), np.uint8))
        self._times = 0

    def fits(self, luma: U8) -> bool:
        """False from the moment on when the picture has not fitted for GROWN_TIMES looks."""
        grown = (fields.lit(luma) > self._expected).mean() > GROWN
        self._times = self._times + 1 if grown else 0
        return self._times < GROWN_TIMES
