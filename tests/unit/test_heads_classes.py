"""What classify and ordinal heads make of logits, and the learned condition of the picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ModelError
from edge.heads import classify, open_all, ordinal, quality, softmax
from edge.types import Classification, Field, ModelHead, Quality, TensorSpec, View

FIELD = Field(x=0, y=0, width=64, height=64, outline=((0, 0), (64, 0), (64, 64), (0, 64)))
MAYO = ("0", "1", "2", "3")
VIEWS = list(quality.CONDITIONS)
MUCOSA, ROOM, NIGHT = (180.0, 100.0, 80.0), (110.0, 115.0, 118.0), (2.0, 1.0, 1.0)

finite = st.floats(-1e6, 1e6)


def logits(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def classified(*values: float, min_score: float = 0.5) -> tuple[Classification, ...]:
    spec = TensorSpec(name="landmark", dtype="float32", shape=(1, len(values)))
    labels = ["other", "caecum", "ileum"][: len(values)]
    heads = [ModelHead(name="landmark", output="landmark", kind="classify", labels=labels)]
    head = classify.open(classify.Config(min_score=min_score), (spec,), heads)
    return head.decode({"landmark": logits(*values)}, FIELD)


def graded(*values: float, min_score: float = 0.0) -> tuple[Classification, ...]:
    spec = TensorSpec(name="mayo", dtype="float32", shape=(1, 3))
    heads = [ModelHead(name="mayo", output="mayo", kind="ordinal", labels=list(MAYO))]
    return ordinal.open(ordinal.Config(min_score=min_score), (spec,), heads).decode({"mayo": logits(*values)}, FIELD)


# -------------------------------------------------------------------------------------------- classify


def test_the_likeliest_label_with_its_probability() -> None:
    (said,) = classified(0.0, math.log(9.0))
    assert (said.head, said.label, said.grade) == ("landmark", "caecum", None)
    assert said.score == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("values", "min_score", "label"),
    [
        ((0.0, 1.0, 0.9), 0.5, None),  # 0.44
        ((0.0, 1.0, 0.9), 0.4, "caecum"),
        ((3.0, 0.0), 0.96, None),  # 0.953
        ((3.0, 0.0), 0.95, "other"),
        ((0.0, 0.0), 0.5, "other"),
        ((math.nan, 9.0), 0.0, None),
        ((math.inf, 0.0), 0.0, None),
        ((-math.inf, 0.0), 0.0, None),
        ((3e38, -3e38), 1.0, "other"),
    ],
)
def test_an_unsure_head_says_nothing(values: tuple[float, ...], min_score: float, label: str | None) -> None:
    assert [said.label for said in classified(*values, min_score=min_score)] == ([label] if label else [])


@given(values=st.lists(finite, min_size=1, max_size=12))
def test_softmax(values: list[float]) -> None:
    found = softmax(values)
    assert sum(found) == pytest.approx(1.0)
    assert all(0.0 <= share <= 1.0 for share in found)
    expected = np.exp(np.array(values) - max(values))
    np.testing.assert_allclose(found, expected / expected.sum())


# --------------------------------------------------------------------------------------------- ordinal


@pytest.mark.parametrize(
    ("values", "label", "score", "grade"),
    [
        ((-20.0, -20.0, -20.0), "0", 1.0, 0.0),
        ((20.0, 20.0, 20.0), "3", 1.0, 3.0),
        ((20.0, 20.0, -20.0), "2", 1.0, 2.0),
        ((20.0, math.log(3.0), -20.0), "2", 0.75, 1.75),  # a doubt between 1 and 2
        ((0.0, 0.0, 0.0), "0", 0.5, 1.5),
        ((math.log(1 / 3), math.log(3.0), -20.0), "0", 0.75, 0.5),  # above 1 is no likelier than above 0
    ],
)
def test_grades(values: tuple[float, ...], label: str, score: float, grade: float) -> None:
    (said,) = graded(*values)
    assert (said.head, said.label) == ("mayo", label)
    assert said.score == pytest.approx(score)
    assert said.grade == pytest.approx(grade, abs=1e-6)


@pytest.mark.parametrize("values", [(math.nan, 0.0, 0.0), (0.0, math.inf, 0.0), (1.0, 0.4, -0.4)])
def test_an_unsure_grade_is_not_said(values: tuple[float, ...]) -> None:
    assert graded(*values, min_score=0.5) == ()


@given(values=st.lists(finite, min_size=1, max_size=8))
def test_grade_probabilities(values: list[float]) -> None:
    found = ordinal.probabilities(values)
    assert len(found) == len(values) + 1
    assert sum(found) == pytest.approx(1.0)
    assert all(share >= 0.0 for share in found)


@given(values=st.lists(st.floats(-30, 30), min_size=3, max_size=3), place=st.integers(0, 2), more=st.floats(0, 9))
def test_a_higher_logit_never_lowers_the_grade(values: list[float], place: int, more: float) -> None:
    (before,) = graded(*values)
    (after,) = graded(*(value + more * (n == place) for n, value in enumerate(values)))
    assert before.grade is not None
    assert after.grade is not None
    assert after.grade >= before.grade - 1e-6


# ------------------------------------------------------------------------------- the picture's condition


def specs(labels: list[str] = VIEWS) -> tuple[tuple[TensorSpec, ...], list[ModelHead]]:
    shapes = {"thumbnail": (1, 3, 8, 8), "detail": (1, 1, 8, 8), "view": (1, len(labels))}
    outputs = tuple(TensorSpec(name=name, dtype="float32", shape=shape) for name, shape in shapes.items())
    return outputs, [ModelHead(name="view", output="view", kind="classify", labels=labels)]


def judged(shares: dict[str, float], rgb: tuple[float, ...] = MUCOSA, **config: float) -> Quality:
    """The learned probabilities, over a picture of one colour that is sharp."""
    given = {
        "thumbnail": np.broadcast_to(np.array(rgb, np.float32)[None, :, None, None], (1, 3, 8, 8)).copy(),
        "detail": np.full((1, 1, 8, 8), 9.0, np.float32),
        "view": np.log(logits(*(shares.get(label, 1e-6) for label in VIEWS))),
    }
    return quality.open(quality.Config(condition="view", **config), *specs()).decode(given, FIELD)


@pytest.mark.parametrize("label", VIEWS)
def test_each_learned_condition_has_its_view(label: str) -> None:
    found = judged({label: 1.0})
    view = quality.CONDITIONS[label]
    assert (found.view, found.reason) == (view, "" if view is View.GOOD else label)
    assert found.luma == pytest.approx(judged({}).luma)


@pytest.mark.parametrize(
    ("shares", "rgb", "view", "reason"),
    [
        ({"blurred": 0.35, "obscured": 0.4, "clear": 0.25}, MUCOSA, View.POOR, "obscured"),  # 0.75 together
        ({"blurred": 0.45, "clear": 0.55}, MUCOSA, View.GOOD, ""),  # unsure: the bounds say good
        ({"blurred": 0.45, "clear": 0.55}, ROOM, View.OUT_OF_BODY, "not_red"),  # and here they do not
        ({"out_of_body": 0.75, "clear": 0.25}, MUCOSA, View.GOOD, ""),  # not sure enough to end a procedure
        ({"out_of_body": 0.85, "clear": 0.15}, MUCOSA, View.OUT_OF_BODY, "out_of_body"),
        ({"clear": 1.0}, ROOM, View.GOOD, ""),  # no red under narrow-band light, and yet mucosa
        ({"clear": 1.0}, NIGHT, View.BLACK, "black"),
        ({"out_of_body": 1.0}, NIGHT, View.BLACK, "black"),
        ({"under_exposed": 1.0}, ROOM, View.OUT_OF_BODY, "not_red"),  # what has no red is no body ...
        ({"obscured": 1.0}, ROOM, View.OUT_OF_BODY, "not_red"),
        ({"over_exposed": 1.0}, ROOM, View.POOR, "over_exposed"),  # ... but what is burnt out has no colour
        (dict.fromkeys(VIEWS, math.nan), MUCOSA, View.GOOD, ""),
        (dict.fromkeys(VIEWS, math.inf), ROOM, View.OUT_OF_BODY, "not_red"),
    ],
)
def test_learned_first_then_the_bounds(
    shares: dict[str, float], rgb: tuple[float, ...], view: View, reason: str
) -> None:
    found = judged(shares, rgb)
    assert (found.view, found.reason) == (view, reason)


@pytest.mark.parametrize(
    ("key", "label"), [("good_from", "clear"), ("poor_from", "blurred"), ("out_of_body_from", "out_of_body")]
)
def test_each_share_decides_alone(key: str, label: str) -> None:
    """In a dark red picture, which the bounds call poor for another reason."""
    other = "clear" if label != "clear" else "blurred"
    sure = {"good_from": 1.0, "poor_from": 1.0, "out_of_body_from": 1.0, key: 0.7}
    for share, reason in ((0.69, "dark"), (0.71, "" if label == "clear" else label)):
        assert judged({label: share, other: 1 - share}, rgb=(40.0, 20.0, 18.0), **sure).reason == reason


def test_a_condition_without_a_word_for_it() -> None:
    outputs, heads = specs(["clear", "smoky"])
    with pytest.raises(ModelError, match='output "view" has a label "smoky"; known: clear, blurred'):
        open_all([{"kind": "quality", "condition": "view"}], outputs, heads)


def test_a_condition_that_the_model_lacks() -> None:
    outputs, heads = specs()
    with pytest.raises(ModelError, match='expected an output "sight", float32'):
        open_all([{"kind": "quality", "condition": "sight"}], outputs, heads)
    with pytest.raises(
        ModelError, match=r'expected \[\[heads\]\] with output = "view", kind = "classify" and 6 labels'
    ):
        open_all([{"kind": "quality", "condition": "view"}], outputs)
