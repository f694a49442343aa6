"""Lesions and marks: which mark belongs to which lesion, and the curves that follow from their scores.

A *lesion* is a connected part of the true mask, or an annotator's box. A *mark* is a region as `edge.heads.segment`
makes it. A mark belongs to a lesion when its centre lies in the lesion's box or the two overlap enough: the rule by
which `endoedge replay` says that an alert was true. Average precision asks for more, an overlap of half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration.eval.overlap import box_iou
from calibration.pictures import Picture
from edge.cli.scoring import MIN_IOU
from edge.heads import segment
from edge.types import Box, Detection, Field, TensorSpec

SPECK = 0.0005  # share of the picture: smaller parts of a mask are a JPEG's crumbs, not lesions
MOST_LESIONS = 32
HALF = 0.5  # IoU from which a box is right, for average precision
FALSE_RATES = (0.05, 0.1, 0.25, 0.5, 1.0)  # false marks a picture at which sensitivity is read off the curve


class Lesion(NamedTuple):
    """One true lesion. `share` of the picture; `score` of the best mark that belongs to it, 0 when none does."""

    box: Box
    share: float
    score: float = 0.0


class Mark(NamedTuple):
    """One region that the model marked. `hit`: it belongs to a lesion. `right`: it is a lesion's one box, IoU ≥ 0.5."""

    box: Box
    score: float
    hit: bool = False
    right: bool = False


class Point(NamedTuple):
    """One point of a free-response curve: what the marks of at least `score` find, and cost."""

    score: float
    sensitivity: float
    false_per_picture: float


def whole(picture: Picture) -> Field:
    """The field of a picture that is nothing but field."""
    height, width = picture.shape[:2]
    return Field(x=0, y=0, width=width, height=height, outline=((0, 0), (width, 0), (width, height), (0, height)))


def lesions_of(mask: Picture) -> list[Lesion]:
    """The parts of a mask (H, W) of 0 and 255, by the box's own head."""
    height, width = mask.shape
    spec = TensorSpec(name="polyp", dtype="float32", shape=(1, 1, height, width))
    head = segment.open(segment.Config(min_area=SPECK, max_regions=MOST_LESIONS), (spec,))
    logits = np.where(mask > 0, np.float32(9), np.float32(-9))[None, None]
    return [Lesion(found.box, found.area) for found in head.decode({"polyp": logits}, whole(mask))]


def boxed(boxes: Sequence[Box], picture: Picture) -> list[Lesion]:
    """An annotator's boxes as lesions."""
    area = picture.shape[0] * picture.shape[1]
    return [Lesion(box, (box[2] - box[0]) * (box[3] - box[1]) / area) for box in boxes]


def belongs(mark: Box, lesion: Box) -> bool:
    x, y = (mark[0] + mark[2]) / 2, (mark[1] + mark[3]) / 2
    return (lesion[0] <= x <= lesion[2] and lesion[1] <= y <= lesion[3]) or box_iou(mark, lesion) >= MIN_IOU


def matched(lesions: Sequence[Lesion], found: Sequence[Detection]) -> tuple[tuple[Lesion, ...], tuple[Mark, ...]]:
    """Who belongs to whom. A lesion's one right box is the best-scored that overlaps it by half (as in Pascal VOC)."""
    taken: set[int] = set()
    marks = []
    for detection in sorted(found, key=lambda d: -d.score):
        overlaps = {n: box_iou(detection.box, lesion.box) for n, lesion in enumerate(lesions) if n not in taken}
        best = max(overlaps, key=lambda n: overlaps[n], default=-1)
        right = best >= 0 and overlaps[best] >= HALF
        taken |= {best} if right else set()
        hit = any(belongs(detection.box, lesion.box) for lesion in lesions)
        marks.append(Mark(detection.box, detection.score, hit, right))
    scored = (
        lesion._replace(score=max((m.score for m in marks if belongs(m.box, lesion.box)), default=0.0))
        for lesion in lesions
    )
    return tuple(scored), tuple(marks)


def froc(lesions: Sequence[Lesion], marks: Sequence[Mark], pictures: int) -> list[Point]:
    """The free-response curve from the strictest score to the laxest; both axes never fall along it."""
    if not lesions or not pictures:
        return []
    best = np.sort([lesion.score for lesion in lesions])
    false = np.sort([mark.score for mark in marks if not mark.hit])
    scores = sorted({lesion.score for lesion in lesions if lesion.score > 0} | set(false.tolist()), reverse=True)
    return [
        Point(
            score,
            float(len(best) - np.searchsorted(best, score)) / len(best),
            float(len(false) - np.searchsorted(false, score)) / pictures,
        )
        for score in scores
    ]


def sensitivity_at(curve: Sequence[Point], false_per_picture: float) -> float | None:
    """The best sensitivity of the curve at no more than so many false marks a picture."""
    if not curve:
        return None
    return max((p.sensitivity for p in curve if p.false_per_picture <= false_per_picture), default=0.0)


def average_precision(
    marks: Sequence[Mark], of_picture: Sequence[int], lesions: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Area under precision over recall, step by step and not interpolated, of all marks by score; NaN without lesions.

    `of_picture`: each mark's picture; `lesions` (pictures,): how many each has; `weights` (sets, pictures): how often
    each picture counts. One value for each set. Marks of one score are one step.
    """
    known = weights @ lesions
    order = np.argsort([-mark.score for mark in marks], kind="stable")
    scores = np.array([marks[place].score for place in order])
    of_mark = weights[:, np.asarray(of_picture, np.intp)[order]] if marks else np.zeros((len(weights), 0))
    right = of_mark * np.array([marks[place].right for place in order], np.float64)
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]  # of the marks of one score
    found, made = right.cumsum(1)[:, last], of_mark.cumsum(1)[:, last]
    precision = np.divide(found, made, out=np.zeros_like(found), where=made > 0)
    area = (np.diff(found, axis=1, prepend=0.0) * precision).sum(1)
    return np.asarray(np.divide(area, known, out=np.full(len(weights), np.nan), where=known > 0), np.float64)
