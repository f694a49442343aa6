"""One encoding on pictures whose polyps are known: what is judged of each picture, and the figures of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.eval import reliability
from calibration.eval.bootstrap import Figure, Resampler
from calibration.eval.detection import (
    FALSE_RATES,
    Lesion,
    Mark,
    average_precision,
    froc,
    lesions_of,
    matched,
    sensitivity_at,
    whole,
)
from calibration.eval.overlap import Overlap, overlap
from calibration.eval.runner import enlarged
from calibration.pictures import Sample
from edge.heads.segment import Segment

# By a polyp's share of the picture. A picture's own size is that of all its polyps together.
SIZES = (("small", 0.0, 0.05), ("medium", 0.05, 0.15), ("large", 0.15, 1.01))
CURVE_POINTS = 60  # of a free-response curve, as reported

Report = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """What one encoding said of one picture. `teacher`: Dice of the teacher's mask, where one was asked."""

    name: str
    group: str
    share: float
    overlap: Overlap | None  # None where only boxes are known
    lesions: tuple[Lesion, ...]
    marks: tuple[Mark, ...]
    pixels: reliability.Table = field(default_factory=lambda: np.zeros((reliability.BINS, 3)))
    teacher: float | None = None


def judge(polyp: NDArray[np.float32], sample: Sample, group: str, head: Segment) -> Judged:
    """`polyp`: the model's output (1, 1, h, w) for the picture of `sample`, whose mask is the truth."""
    logits, truth = enlarged(polyp, sample.picture), sample.mask > 0
    lesions, marks = matched(lesions_of(sample.mask), head.decode({"polyp": polyp}, whole(sample.picture)))
    probability = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    return Judged(
        name=sample.name,
        group=group,
        share=float(truth.mean()),
        overlap=overlap(logits > 0, truth),
        lesions=lesions,
        marks=marks,
        pixels=reliability.table(probability, truth),
    )


def judge_boxes(lesions: Sequence[Lesion], marks: Sequence[Mark], name: str, group: str) -> Judged:
    """The same where an annotator drew boxes and no mask."""
    return Judged(name, group, min(1.0, sum(lesion.share for lesion in lesions)), None, tuple(lesions), tuple(marks))


def flat(name: str, figure: Figure, digits: int = 5) -> Report:
    """A figure as two JSON keys: `name` and `name_ci95`, null where nothing can be said."""
    value = None if figure.value is None else round(figure.value, digits)
    if figure.low is None or figure.high is None:
        return {name: value, f"{name}_ci95": None}
    return {name: value, f"{name}_ci95": [round(figure.low, digits), round(figure.high, digits)]}


def _mean(draws: Resampler, judged: Sequence[Judged], chosen: Callable[[Judged], bool], value: str) -> Figure:
    counts = [float(j.overlap is not None and chosen(j)) for j in judged]
    values = [getattr(j.overlap, value) if n else 0.0 for j, n in zip(judged, counts, strict=True)]
    return draws.ratio(values, counts)


def report(judged: Sequence[Judged], draws: Resampler) -> Report:
    """The figures of one encoding. Dice and IoU are means over the pictures that show a polyp, at probability 0.5."""
    return {
        **flat("dice", _mean(draws, judged, _bears, "dice")),
        **flat("iou", _mean(draws, judged, _bears, "iou")),
        **_pictures(judged, draws),
        **_lesions(judged, draws),
        **_precision(judged, draws),
        "by_size": {name: _of_size(judged, draws, low, high) for name, low, high in SIZES},
        **_calibration(judged, draws),
        "interval_draws": draws.unit,
    }


def difference(judged: Sequence[Judged], reference: Sequence[Judged], draws: Resampler) -> Report:
    """Dice of these minus Dice of the reference's, picture by picture."""
    pairs = [(_dice(a), _dice(b)) for a, b in zip(judged, reference, strict=True)]
    counts = [float(_bears(a) and a.overlap is not None) for a in judged]
    return flat("dice_minus_fp32", draws.ratio([(a - b) * n for (a, b), n in zip(pairs, counts, strict=True)], counts))


def beside_teacher(judged: Sequence[Judged], draws: Resampler) -> Report:
    """The teacher's Dice on the same pictures, and how far the student is behind it."""
    counts = [float(_bears(j) and j.teacher is not None) for j in judged]
    teacher = [j.teacher or 0.0 for j in judged]
    behind = [(_dice(j) - t) * n for j, t, n in zip(judged, teacher, counts, strict=True)]
    return {
        **flat("teacher_dice", draws.ratio(np.multiply(teacher, counts), counts)),
        **flat("dice_minus_teacher", draws.ratio(behind, counts)),
    }


def _dice(judged: Judged) -> float:
    return judged.overlap.dice if judged.overlap else 0.0


def _bears(judged: Judged) -> bool:
    return bool(judged.share > 0)


def _pictures(judged: Sequence[Judged], draws: Resampler) -> Report:
    """Of pictures with polyps, those where one was marked; of those without, the ones left clean."""
    bear = np.array([_bears(j) for j in judged])
    found = [any(mark.hit for mark in j.marks) for j in judged]
    clean = [not j.marks for j in judged]
    return {
        "pictures_with_polyps": int(bear.sum()),
        "pictures_without_polyps": int((~bear).sum()),
        **flat("picture_sensitivity", draws.ratio(found & bear, bear)),
        **flat("picture_specificity", draws.ratio(clean & ~bear, ~bear)),
    }


def _lesions(judged: Sequence[Judged], draws: Resampler) -> Report:
    """A lesion has no true negative: instead of specificity, false marks a picture and the marks' precision."""
    lesions = [lesion for j in judged for lesion in j.lesions]
    marks = [mark for j in judged for mark in j.marks]
    curve = froc(lesions, marks, len(judged))
    known = [len(j.lesions) for j in judged]
    found = [sum(lesion.score > 0 for lesion in j.lesions) for j in judged]
    false = [sum(not mark.hit for mark in j.marks) for j in judged]
    made = [len(j.marks) for j in judged]
    return {
        "lesions": len(lesions),
        **flat("lesion_sensitivity", draws.ratio(found, known)),
        **flat("mark_precision", draws.ratio(np.subtract(made, false), made)),
        **flat("false_marks_per_picture", draws.ratio(false, np.ones(len(judged)))),
        "sensitivity_at_false_per_picture": {str(rate): _rounded(sensitivity_at(curve, rate)) for rate in FALSE_RATES},
        "froc": [[round(value, 4) for value in point] for point in _thinned(curve)],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _thinned(curve: Sequence[Any]) -> list[Any]:
    """The curve's corners: at most CURVE_POINTS, first and last among them."""
    if len(curve) <= CURVE_POINTS:
        return list(curve)
    return [curve[round(place)] for place in np.linspace(0, len(curve) - 1, CURVE_POINTS)]


def _precision(judged: Sequence[Judged], draws: Resampler) -> Report:
    marks = [mark for j in judged for mark in j.marks]
    of_picture = [place for place, j in enumerate(judged) for _ in j.marks]
    known = np.array([len(j.lesions) for j in judged], np.float64)
    return flat("ap50", draws.weighted(lambda weights: average_precision(marks, of_picture, known, weights)))


def _of_size(judged: Sequence[Judged], draws: Resampler, low: float, high: float) -> Report:
    """Pictures by the share that all their polyps take; lesions by their own."""
    of_size = [[lesion for lesion in j.lesions if low < lesion.share <= high] for j in judged]
    found = [sum(lesion.score > 0 for lesion in lesions) for lesions in of_size]
    known = [len(lesions) for lesions in of_size]
    return {
        "pictures": sum(low < j.share <= high for j in judged),
        **flat("dice", _mean(draws, judged, lambda j: low < j.share <= high, "dice")),
        "lesions": sum(known),
        **flat("lesion_sensitivity", draws.ratio(found, known)),
    }


def _calibration(judged: Sequence[Judged], draws: Resampler) -> Report:
    """Of pixels: probability against the mask. Of marks: score against whether there was a lesion."""
    tables = {
        "pixel": [j.pixels for j in judged],
        "mark": [reliability.table([m.score for m in j.marks], [m.hit for m in j.marks]) for j in judged],
    }
    figures: Report = {}
    for name, of_pictures in tables.items():
        figures |= flat(f"ece_{name}", draws.of_sums(of_pictures, reliability.expected_error))
        rows = reliability.diagram(np.sum(of_pictures, 0))
        figures[f"reliability_{name}"] = [[round(said, 4), round(true, 4), count] for said, true, count in rows]
    return figures
