"""Pictures spoilt on purpose: every label once, the same every time, and only of pictures that are fit for it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.eval.spoilt import of_spoilt
from calibration.eval.subjects import Case, Subject
from calibration.heads import named
from calibration.pictures import Sample
from edge.errors import UsageError

SIDE = 64


def case(name: str, **labels: str) -> Case:
    rng = np.random.default_rng(len(name))
    coarse = rng.integers(60, 200, (16, 16, 3), np.uint8)
    picture = np.asarray(cv2.resize(coarse, (120, 100), interpolation=cv2.INTER_CUBIC), np.uint8)
    sample = Sample(name, picture, np.full(picture.shape[:2], 255, np.uint8))
    return Case(name=name, group=name, load=lambda: sample, masked=True, labels=labels)


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = (case("one"), case("spoilt already", view="blurred"), case("clear", view="clear"))
    found = Subject("drawn", cases)
    monkeypatch.setattr("calibration.eval.spoilt.of_dataset", lambda *_: found)


@pytest.mark.usefixtures("three")
def test_each_fit_picture_comes_once_under_every_label() -> None:
    made = of_spoilt("view", "drawn", Path(), None, SIDE)
    labels = named("view").labels
    assert [one.labels["view"] for one in made.cases] == [*labels, *labels]
    assert {one.group for one in made.cases} == {"one", "clear"}
    assert not any(one.located for one in made.cases)  # its mask is of the picture before: nobody's truth now
    pictures = [one.load().picture for one in made.cases]
    assert all(picture.shape == (SIDE, SIDE, 3) for picture in pictures)
    for first, again in zip(pictures, (one.load().picture for one in made.cases), strict=True):
        np.testing.assert_array_equal(first, again)


def test_a_head_that_learns_from_labels_is_no_such_head() -> None:
    with pytest.raises(UsageError, match="--spoilt landmark: the head learns from labels"):
        of_spoilt("landmark", "folder", Path(), None, SIDE)
