"""Pictures spoilt on purpose, as truth for a head that names what is wrong with a picture."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from calibration import heads, views
from calibration.eval.subjects import Case, Subject, of_dataset
from calibration.heads import Head
from calibration.pictures import DatasetError, Sample
from edge.errors import UsageError

SEED = 0xE7A1


def of_spoilt(name: str, layout: str, root: Path, split: str | None, side: int) -> Subject:
    """Every usable picture of a public layout under each of the head's labels in turn, at side x side. The first label
    is the picture as it is; one that is known to have another is left out.

    Raises UsageError for a head that does not make its examples, DatasetError when no picture is fit for it.
    """
    head = heads.named(name)
    if head.spoil is None:
        raise UsageError(f"--spoilt {name}: the head learns from labels; judge it on a --dataset that has them")
    cases = [
        replace(case, name=f"{case.name}, {label}", masked=False, boxes=None, labels={name: label}, load=load)
        for case in of_dataset(layout, root, split).cases
        if case.labels.get(name, head.labels[0]) == head.labels[0] and head.usable(case.load().picture)
        for place, label in enumerate(head.labels)
        for load in [partial(_spoilt, head, case, place, side)]
    ]
    if not cases:
        raise DatasetError(f"{root}: no picture of {layout} is fit to be spoilt for head {name}")
    return Subject(f"{layout}, spoilt for {name}", tuple(cases))


def _spoilt(head: Head, case: Case, place: int, side: int) -> Sample:
    """A pure function of the picture's name and the label."""
    rng = np.random.default_rng((SEED, place, *case.name.encode()))
    sample = case.load()
    picture = views.judged(head, rng, sample.picture, head.labels[place], side)
    return replace(sample, picture=picture, mask=np.zeros(picture.shape[:2], np.uint8))
