"""What is asked of the phantom (`Script`) and what is true of each of its frames (`Truth`)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError
from edge.phantom.optics import SHAPES, Outline
from edge.types import Struct, View

VERSION = 2  # of the renderer: raised whenever a script's frames change, so that cached clips are made anew
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**31 - 1),
    "fps": (1, 120),
    "seconds": (0.04, 7200),
    "width": (320, 1920),
    "height": (256, 1080),
}


class Script(Struct, frozen=True, kw_only=True):
    """One clip. The same script and `VERSION` give the same frames, bit for bit."""

    seed: int = 1
    fps: int = 25
    seconds: float = 30.0
    width: int = 640
    height: int = 512
    shape: Literal["octagon", "round"] = "octagon"
    passages: bool = True  # black, out of body and poor view; without them every frame is good mucosa

    def __post_init__(self) -> None:
        """Raises ConfigError for what cannot be drawn."""
        for key, (least, most) in RANGES.items():
            value = getattr(self, key)
            if not least <= value <= most:
                raise ConfigError(f"phantom: {key} = {value}, expected {least} to {most}")
        if self.width % 2 or self.height % 2 or self.width < 1.2 * self.height:
            raise ConfigError(
                f"phantom: {self.width}x{self.height}, expected even sides and a width of 1.2 heights or more, "
                "for the tower's text beside the field"
            )
        if self.shape not in SHAPES:
            raise ConfigError(f"phantom: shape = {self.shape!r}, expected {' or '.join(SHAPES)}")

    @property
    def frames(self) -> int:
        return max(1, round(self.seconds * self.fps))

    def media_ns(self, frame: int) -> int:
        return frame * 1_000_000_000 // self.fps


class PolypTruth(Struct, frozen=True, kw_only=True):
    """One polyp in one frame.

    `box` in picture pixels. `visible`: share of the polyp's camera-facing surface that is in the picture and not
    behind anything, 0..1. `runs`: lengths of alternating runs of 0 and 1 over the box, row by row, 0 first.
    """

    id: int
    paris: str
    box: tuple[int, int, int, int]
    visible: float
    area: int
    runs: tuple[int, ...]

    def mask(self, height: int, width: int) -> NDArray[np.bool_]:
        """The polyp's pixels in the whole picture, bool (height, width)."""
        x0, y0, x1, y1 = self.box
        values = np.arange(len(self.runs)) % 2 == 1
        full = np.zeros((height, width), bool)
        full[y0:y1, x0:x1] = np.repeat(values, self.runs).reshape(y1 - y0, x1 - x0)
        return full


class Truth(Struct, frozen=True, kw_only=True):
    """What is true of one frame. `reason` is "" unless the view is poor: "blur", "glare", "bubbles" or "dark"."""

    frame: int
    media_ns: int
    view: View
    reason: str = ""
    polyps: tuple[PolypTruth, ...] = ()
    field: Outline = ()


class Header(Struct, frozen=True, kw_only=True):
    """First line of a truth file."""

    version: int
    script: Script
    field: Outline


def runs_of(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """Run lengths of a bool array read row by row, starting with a (perhaps empty) run of False."""
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    runs = tuple(int(n) for n in np.diff(bounds))
    return (0, *runs) if flat[0] else runs


def polyp_truth(
    number: int, paris: str, mask: NDArray[np.bool_], corner: tuple[int, int], visible: float
) -> PolypTruth:
    """Describe the polyp whose pixels are `mask`, a part of the picture that begins at `corner` (x, y)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    box = (x0 + corner[0], y0 + corner[1], x1 + corner[0], y1 + corner[1])
    inside = mask[y0:y1, x0:x1]
    return PolypTruth(id=number, paris=paris, box=box, visible=visible, area=int(inside.sum()), runs=runs_of(inside))
