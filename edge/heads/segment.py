"""Regions from a map of logits: threshold, connected components, boxes in source pixels.

The model's map covers the field's rectangle, whatever its shape, so a cell's corner (c, r) lies at source pixel
`(field.x + c * field.width / W, field.y + r * field.height / H)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta

from edge.heads import Array, require
from edge.types import Detection, Field, Struct, TensorSpec

TOP_SHARE = 0.25
"""A region's score is the mean of this share of its highest logits: steadier than the maximum, and not pulled down by
a region's soft rim as its mean is."""


class Config(Struct, frozen=True, kw_only=True):
    """Which output, and what counts as a region."""

    output: str = "polyp"
    label: str = "polyp"
    threshold: Annotated[float, Meta(ge=0.01, le=0.99)] = 0.5
    """Probability above which a cell belongs to a region."""
    min_area: Annotated[float, Meta(ge=0.0, le=0.5)] = 0.002
    """Smaller regions are dropped: a share of the map."""
    max_regions: Annotated[int, Meta(ge=1, le=32)] = 8
    """The largest ones are kept."""


def open(config: Config, outputs: tuple[TensorSpec, ...]) -> Segment:
    """ModelError when the model has no such map."""
    spec = require("segment", outputs, config.output, (1, 1, None, None))
    return Segment(config, rows=spec.shape[2], columns=spec.shape[3])


class Segment:
    """Holds its scratch mask, so it serves one thread."""

    fills = "detections"

    def __init__(self, config: Config, *, rows: int, columns: int) -> None:
        self._output = config.output
        self._label = config.label
        self._bound = np.float32(math.log(config.threshold / (1.0 - config.threshold)))
        self._cells = rows * columns
        self._min_cells = max(1, math.ceil(config.min_area * self._cells))
        self._max_regions = config.max_regions
        self._mask = np.empty((rows, columns), np.bool_)
        most_labels = ((rows + 1) // 2) * ((columns + 1) // 2) + 1  # regions that do not touch, and the background
        self._label_type = cv2.CV_16U if most_labels < 0xFFFF else cv2.CV_32S  # 16 bits are twice as fast

    def decode(self, outputs: Mapping[str, Array], field: Field) -> tuple[Detection, ...]:
        """Regions by falling score. A NaN cell belongs to none."""
        logits = outputs[self._output][0, 0]
        np.greater(logits, self._bound, out=self._mask)
        if not self._mask.any():
            return ()
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            self._mask.view(np.uint8), connectivity=8, ltype=self._label_type
        )
        areas = stats[:, cv2.CC_STAT_AREA]
        regions = np.flatnonzero(areas >= self._min_cells)
        regions = regions[regions != 0]  # component 0 is the background
        regions = regions[np.argsort(-areas[regions], kind="stable")[: self._max_regions]]
        found = [self._detection(int(region), labels, stats[region].tolist(), logits, field) for region in regions]
        return tuple(sorted(found, key=lambda detection: (-detection.score, detection.box)))

    def _detection(self, region: int, labels: Array, stats: list[int], logits: Array, field: Field) -> Detection:
        """`stats`: the region's left, top, width, height and area, in cells."""
        left, top, width, height, area = stats
        window = (slice(top, top + height), slice(left, left + width))
        inside = logits[window][labels[window] == region]
        rows, columns = logits.shape
        across, down = field.width / columns, field.height / rows
        return Detection(
            label=self._label,
            box=(
                field.x + left * across,
                field.y + top * down,
                field.x + (left + width) * across,
                field.y + (top + height) * down,
            ),
            score=_score(inside),
            area=area / self._cells,
        )


def _score(logits: Array) -> float:
    """Probability of the mean of the top quarter of `logits`, a flat float32 array of at least one, none NaN."""
    top = max(1, round(logits.size * TOP_SHARE))
    mean = float(np.partition(logits, logits.size - top)[-top:].mean(dtype=np.float64))
    return 1.0 / (1.0 + math.exp(-max(mean, -700.0)))  # exp overflows beyond; a threshold keeps means far above
