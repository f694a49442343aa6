"""Is this a usable picture of the inside of a body? A learned answer where there is a sure one, else a table of bounds.

The model hands over a small picture of itself (`thumbnail`: mean R, G, B of each cell, 0..255) and how much fine
detail each cell holds (`detail`: mean absolute Laplacian of the luma), so nothing here touches pixels. A model may also
say by itself what is the matter (`condition`: logits over the words of CONDITIONS). One frame is judged alone: flicker
at a bound is for `edge.decide`, which knows time.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta

from edge.errors import ModelError
from edge.heads import Array, labels_of, require, softmax
from edge.types import Field, ModelHead, Quality, Struct, TensorSpec, View

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
SATURATED = 230.0
"""Mean luma from which a cell counts as glare: most of its pixels are burnt out."""
FINE = 8
"""The outline is drawn this much finer than the grid, to know which cells it crosses."""

CONDITIONS = {
    "clear": View.GOOD,
    "blurred": View.POOR,
    "over_exposed": View.POOR,
    "under_exposed": View.POOR,
    "obscured": View.POOR,
    "out_of_body": View.OUT_OF_BODY,
}
"""What a model may have learned to say of a picture, and what that makes of the view."""

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Sure = Annotated[float, Meta(ge=0.5, le=1.0)]


class Config(Struct, frozen=True, kw_only=True):
    """Which outputs, and the bounds of the table below. The defaults suit white light: measured on Kvasir-SEG train,
    two gastroscopy clips and a room. Under narrow-band light mucosa is not red: lower `red_below` for it."""

    thumbnail: str = "thumbnail"
    detail: str = "detail"
    black_below: Share = 0.025
    """Mean luma."""
    red_below: Share = 0.36
    """Red's share of all light: grey has 0.33, a room about that; mucosa has 0.37 to 0.65."""
    dark_below: Share = 0.12
    """Mean luma."""
    glare_above: Share = 0.25
    """Share of burnt-out cells."""
    bright_above: Share = 0.66
    """Mean luma: washed out, though not burnt out."""
    blur_below: Annotated[float, Meta(ge=0.0, le=255.0)] = 2.2
    """Mean absolute Laplacian."""
    condition: str = ""
    """The model's learned output, if it has one. A black picture stays black whatever it says, one without red is no
    body unless it says "clear" or "over_exposed", and the bounds above decide where the probability that it gives to
    the likeliest view is less than that view's share below."""
    good_from: Sure = 0.6
    poor_from: Sure = 0.6
    """All that makes a view poor is counted together; the likeliest is the reason."""
    out_of_body_from: Sure = 0.8
    """Higher: it takes the alerts away, and in the end the procedure."""


Row = tuple[View, str, Callable[[Quality], float], Callable[[float, float], bool], float]


def table(config: Config) -> tuple[Row, ...]:
    """(view, reason, measure, comparison, bound), checked in this order; the first that holds is the answer."""
    luma = operator.attrgetter("luma")
    return (
        (View.BLACK, "black", luma, operator.lt, config.black_below),
        (View.OUT_OF_BODY, "not_red", operator.attrgetter("redness"), operator.lt, config.red_below),
        (View.POOR, "dark", luma, operator.lt, config.dark_below),
        (View.POOR, "glare", operator.attrgetter("glare"), operator.gt, config.glare_above),
        (View.POOR, "glare", luma, operator.gt, config.bright_above),
        (View.POOR, "blur", operator.attrgetter("detail"), operator.lt, config.blur_below),
    )


def open(config: Config, outputs: tuple[TensorSpec, ...], heads: Sequence[ModelHead] = ()) -> QualityHead:
    """ModelError when the model has no such outputs, two grids that differ, or a condition that we have no word for."""
    thumbnail = require("quality", outputs, config.thumbnail, (1, 3, None, None))
    detail = require("quality", outputs, config.detail, (1, 1, None, None))
    if thumbnail.shape[2:] != detail.shape[2:]:
        raise ModelError(
            f'head quality: output "{config.detail}" is {detail.shape}, expected the grid of "{config.thumbnail}", '
            f"{thumbnail.shape}"
        )
    condition = None
    if config.condition:
        spec = require("quality", outputs, config.condition, (1, None))
        condition = Condition(config, labels_of("quality", heads, spec, "classify"))
    return QualityHead(config, condition, rows=detail.shape[2], columns=detail.shape[3])


class Condition:
    """The learned answer."""

    def __init__(self, config: Config, labels: tuple[str, ...]) -> None:
        unknown = [label for label in labels if label not in CONDITIONS]
        if unknown:
            raise ModelError(
                f'head quality: output "{config.condition}" has a label "{unknown[0]}"; known: {", ".join(CONDITIONS)}'
            )
        self._output = config.condition
        self._labels = labels
        self._views = tuple(CONDITIONS[label] for label in labels)
        self._bounds = {
            View.GOOD: config.good_from,
            View.POOR: config.poor_from,
            View.OUT_OF_BODY: config.out_of_body_from,
        }

    def judge(self, outputs: Mapping[str, Array]) -> tuple[View, str] | None:
        """View and reason; None when it is unsure, or not a number."""
        scores = softmax(outputs[self._output][0].tolist())
        if not scores:
            return None
        shares = dict.fromkeys(self._bounds, 0.0)
        for view, score in zip(self._views, scores, strict=True):
            shares[view] += score
        for view, bound in self._bounds.items():
            if shares[view] >= bound:
                return view, self._reason(view, scores)
        return None

    def _reason(self, view: View, scores: list[float]) -> str:
        """The likeliest label of this view."""
        if view is View.GOOD:
            return ""
        return max(
            (score, label) for score, label, of in zip(scores, self._labels, self._views, strict=True) if of is view
        )[1]


class QualityHead:
    """Keeps the mask of the field it saw last: a field changes a few times a day."""

    fills = "quality"
    labels = ()

    def __init__(self, config: Config, condition: Condition | None, *, rows: int, columns: int) -> None:
        self.name = config.condition or config.thumbnail
        self._config = config
        self._condition = condition
        self._table = table(config)
        self._shape = (rows, columns)
        self._field: Field | None = None
        self._weights = _weights(np.ones((rows, columns), np.bool_))

    def decode(self, outputs: Mapping[str, Array], field: Field) -> Quality:
        """Not a number counts as 0, so a broken output reads as a black picture."""
        if field is not self._field and field != self._field:
            self._field, self._weights = field, _weights(inside(field, *self._shape))
        weights = self._weights
        rgb = _finite(outputs[self._config.thumbnail].reshape(3, -1))
        red, green, blue = (rgb @ weights).tolist()
        luma = LUMA @ rgb
        measured = Quality(
            view=View.GOOD,
            reason="",
            luma=min(float(luma @ weights) / 255.0, 1.0),
            glare=min(float((luma >= SATURATED) @ weights), 1.0),
            redness=red / max(red + green + blue, 1e-6),
            detail=float(_finite(outputs[self._config.detail].reshape(-1)) @ weights),
        )
        judged = judge(measured, self._table)
        learned = self._condition.judge(outputs) if self._condition else None
        return judged if learned is None or _stands(judged, *learned) else _said(measured, *learned)


def _stands(judged: Quality, view: View, reason: str) -> bool:
    """Does the table's answer stand against this learned one? Black is black. And what has no red is no body, unless
    the model calls it a good view or burnt out: of real rooms it only ever saw drawn ones, and says "under-exposed"."""
    if judged.view is View.OUT_OF_BODY:
        return view is View.POOR and reason != "over_exposed"
    return judged.view is View.BLACK


def judge(measured: Quality, rows: tuple[Row, ...]) -> Quality:
    """`measured` with the view and reason of the first row that holds; GOOD when none does."""
    for view, reason, measure, beyond, bound in rows:
        if beyond(measure(measured), bound):
            return _said(measured, view, reason)
    return measured


def _said(measured: Quality, view: View, reason: str) -> Quality:
    return Quality(
        view=view,
        reason=reason,
        luma=measured.luma,
        glare=measured.glare,
        redness=measured.redness,
        detail=measured.detail,
    )


def inside(field: Field, rows: int, columns: int) -> Array:
    """Bool (rows, columns): the cells well inside the field's outline.

    One cell is taken off at the border, where a cell is part black and the edge itself looks like detail. A field
    without an inside (fewer than three corners, or all too thin) counts as the whole rectangle.
    """
    corners = np.array(field.outline, np.float32).reshape(-1, 2)
    fine = (corners - (field.x, field.y)) * (FINE * columns / max(field.width, 1), FINE * rows / max(field.height, 1))
    mask = np.zeros((rows * FINE, columns * FINE), np.uint8)
    if len(corners) >= 3:
        cv2.fillPoly(mask, [np.rint(fine - 0.5).astype(np.int32)], 1)  # a pixel's index is its centre for OpenCV
    whole = mask.reshape(rows, FINE, columns, FINE).min(axis=(1, 3))
    mask = cv2.erode(whole, np.ones((3, 3), np.uint8)).astype(np.uint8)
    return mask > 0 if mask.any() else np.ones((rows, columns), np.bool_)


def _weights(cells: Array) -> Array:
    """Float32 (rows * columns,): a product with it is the mean over `cells`, of which there is one at least."""
    return (cells / np.count_nonzero(cells)).astype(np.float32).ravel()


def _finite(values: Array) -> Array:
    """0..255, with 0 for what is not a number. Sound values, the rule, pass with one look and no copy."""
    if np.minimum.reduce(values, None) >= 0.0 and np.maximum.reduce(values, None) <= 255.0:  # NaN fails both
        return values
    finite: Array = np.nan_to_num(values, nan=0.0, posinf=255.0, neginf=0.0).clip(0.0, 255.0)
    return finite
