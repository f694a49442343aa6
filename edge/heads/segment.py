"""Regions from a map of logits: threshold, connected components, boxes in source pixels.

The model's map covers the field's rectangle, whatever its shape, so a cell's corner (c, r) lies at source pixel
`(field.x + c * field.width / W, field.y + r * field.height / H)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta

from edge.errors import ModelError
from edge.heads import Array, require
from edge.types import Detection, Field, ModelHead, Struct, TensorSpec

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


def open(config: Config, outputs: tuple[TensorSpec, ...], heads: Sequence[ModelHead] = ()) -> Segment:
    """ModelError when the model has no such map, or says that it is of something else."""
    spec = require("segment", outputs, config.output, (1, 1, None, None))
    for entry in heads:
        if entry.output == config.output and config.label not in entry.labels:
            raise ModelError(
                f'head segment: label = "{config.label}", but the model\'s output "{config.output}" is of: '
                f"{', '.join(entry.labels)}"
            )
    return Segment(config, rows=spec.shape[2], columns=spec.shape[3])


class Segment:
    """Holds its scratch mask, so it serves one thread."""

    fills = "detections"

    def __init__(self, config: Config, *, rows: int, columns: int) -> None:
        self.name = config.output
        self.labels = (config.label,)
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
        logits = outputs[self.name][0, 0]
        np.greater(logits, self._bound, out=self._mask)
        # Always asked, though often nothing is there: a NumPy call more costs as much in caches that the model has
        # just filled. For the same reason the few rows of `stats` are worked on as Python numbers.
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            self._mask.view(np.uint8), connectivity=8, ltype=self._label_type
        )
        regions = [
            (row[cv2.CC_STAT_AREA], region, row)
            for region, row in enumerate(stats.tolist())
            if region > 0 and row[cv2.CC_STAT_AREA] >= self._min_cells  # component 0 is the background
        ]
        if not regions:
            return ()
        regions.sort(key=lambda found: (-found[0], found[1]))
        found = [self._detection(region, labels, row, logits, field) for _, region, row in regions[: self._max_regions]]
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
    """Probability of the mean of the top quarter of `logits`, a flat float32 array of at least one, none NaN; it is
    reordered."""
    top = max(1, round(logits.size * TOP_SHARE))
    logits.partition(logits.size - top)
    mean = float(np.add.reduce(logits[-top:], dtype=np.float64)) / top
    return 1.0 / (1.0 + math.exp(-max(mean, -700.0)))  # exp overflows beyond; a threshold keeps means far above
