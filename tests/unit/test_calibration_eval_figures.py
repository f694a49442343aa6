"""Every figure of the evaluation against a case small enough to work out by hand, and laws that always hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="the calibration extra is not installed")

import itertools

from sklearn import metrics as reference

from calibration.eval import classes, detection, reliability, segmentation
from calibration.eval.bootstrap import Resampler
from calibration.eval.detection import Lesion, Mark
from calibration.eval.overlap import box_iou, overlap
from calibration.eval.robustness import CORRUPTIONS, STRENGTHS, corrupted
from calibration.eval.segmentation import Judged
from calibration.eval.video import at, exact_share, per_minute
from calibration.pictures import Sample
from edge.decide.config import RulesConfig
from edge.errors import ModelError
from edge.heads import segment
from edge.types import Detection, ModelHead, TensorSpec

masks = st.lists(st.booleans(), min_size=4, max_size=4).map(lambda bits: np.array(bits).reshape(2, 2))
scores = st.floats(0.01, 1.0)
laws = settings(deadline=None, max_examples=25)


def found(score: float, *box: float) -> Detection:
    return Detection(label="polyp", box=box, score=score, area=0.1)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------- overlap


def test_dice_and_iou_by_hand() -> None:
    one, two = np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool)
    assert (overlap(one, two).dice, overlap(one, two).iou) == (2 * 1 / 4, 1 / 3)


@laws
@given(masks, masks)
def test_dice_is_symmetric_and_never_below_iou(one: np.ndarray, two: np.ndarray) -> None:
    there, back = overlap(one, two), overlap(two, one)
    assert there == back
    assert 0 <= there.iou <= there.dice <= 1
    assert overlap(one, one).dice == 1


def test_box_iou_by_hand() -> None:
    assert box_iou((0, 0, 2, 2), (1, 1, 3, 3)) == 1 / 7
    assert box_iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0


# -------------------------------------------------------------------------------------------- bootstrap


@laws
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=12))
def test_an_interval_holds_its_value_and_repeats(pictures: list[tuple[float, int]]) -> None:
    values, below = [v * n for v, n in pictures], [n for _, n in pictures]
    figure = Resampler(["a"] * len(pictures), draws=50).ratio(values, below)
    again = Resampler(["a"] * len(pictures), draws=50).ratio(values, below)
    assert figure == again
    if sum(below) == 0:
        assert figure.value is None
    elif len(pictures) == 1:
        assert (figure.low, figure.high) == (None, None)
    else:
        assert figure.low <= figure.value <= figure.high  # type: ignore[operator]


def test_pictures_of_one_patient_are_one_observation() -> None:
    """Ten patients with ten equal pictures each: as unsure as ten pictures, not as a hundred."""
    values = np.repeat(np.arange(10) / 10, 10)
    wide = Resampler([f"patient {n // 10}" for n in range(100)]).ratio(values, np.ones(100))
    narrow = Resampler([f"picture {n}" for n in range(100)]).ratio(values, np.ones(100))
    assert wide.value == pytest.approx(0.45)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)  # type: ignore[operator]


def test_too_few_groups_to_draw_from_are_not_drawn_from() -> None:
    assert Resampler(["a"] * 9 + ["b"]).unit == "picture"
    assert Resampler(list("abcde")).unit == "group"
    assert Resampler([]).ratio([], []).value is None


def test_ratio_and_weighted_agree() -> None:
    values, draws = np.array([1.0, 0.0, 0.5, 0.25]), Resampler(list("abcd"), draws=200)
    mean = draws.weighted(lambda weights: weights @ values / weights.sum(1))
    assert mean == pytest.approx(draws.ratio(values, np.ones(4)))


def test_no_false_alert_in_a_minute_is_not_proof_of_none() -> None:
    assert per_minute(0, 1.0) == pytest.approx((0.0, 0.0, 3.689), abs=1e-3)  # Garwood's table
    assert per_minute(4, 2.0) == pytest.approx((2.0, 1.0899 / 2, 10.2416 / 2), abs=1e-3)
    assert per_minute(0, 0.0).value is None


def test_three_lesions_found_of_three_is_not_proof_of_all() -> None:
    assert exact_share(0, 3) == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / 3)))
    assert exact_share(3, 3) == pytest.approx((1.0, 0.025 ** (1 / 3), 1.0))
    assert exact_share(0, 0).value is None


# -------------------------------------------------------------------------------------------- detection


def test_lesions_are_the_parts_of_a_mask_without_a_jpegs_crumbs() -> None:
    mask = np.zeros((100, 200), np.uint8)
    mask[10:30, 20:60] = mask[60:90, 100:140] = 255
    mask[95:97, 5:7] = 255  # 4 of 20,000 pixels
    lesions = sorted(detection.lesions_of(mask))
    assert [lesion.box for lesion in lesions] == [(20, 10, 60, 30), (100, 60, 140, 90)]
    assert [lesion.share for lesion in lesions] == [0.04, 0.06]


def test_marks_and_lesions_are_matched() -> None:
    lesions = [Lesion((0, 0, 10, 10), 0.1), Lesion((50, 50, 60, 60), 0.1)]
    marks = [found(0.9, 1, 1, 10, 10), found(0.8, 0, 0, 9, 10), found(0.7, 30, 30, 40, 40)]
    seen, made = detection.matched(lesions, marks)
    assert [lesion.score for lesion in seen] == [0.9, 0.0]
    assert [(mark.hit, mark.right) for mark in made] == [(True, True), (True, False), (False, False)]


def test_froc_by_hand() -> None:
    lesions = [Lesion((0, 0, 1, 1), 0.1, 0.9), Lesion((0, 0, 1, 1), 0.1, 0.5), Lesion((0, 0, 1, 1), 0.1)]
    marks = [Mark((0, 0, 1, 1), 0.9, hit=True), Mark((5, 5, 6, 6), 0.7), Mark((0, 0, 1, 1), 0.5, hit=True)]
    curve = detection.froc(lesions, marks, 2)
    assert curve == [(0.9, 1 / 3, 0.0), (0.7, 1 / 3, 0.5), (0.5, 2 / 3, 0.5)]
    assert detection.sensitivity_at(curve, 0.1) == 1 / 3
    assert detection.sensitivity_at(curve, 0.5) == 2 / 3
    assert detection.sensitivity_at([], 0.5) is None


@laws
@given(st.lists(st.one_of(st.just(0.0), scores), min_size=1), st.lists(st.tuples(scores, st.booleans())))
def test_froc_never_falls(best: list[float], marked: list[tuple[float, bool]]) -> None:
    lesions = [Lesion((0, 0, 1, 1), 0.1, score) for score in best]
    curve = detection.froc(lesions, [Mark((0, 0, 1, 1), score, hit) for score, hit in marked], 3)
    for before, after in itertools.pairwise(curve):
        assert before.score > after.score
        assert before.sensitivity <= after.sensitivity <= 1
        assert before.false_per_picture <= after.false_per_picture


def test_average_precision_by_hand() -> None:
    """Right at rank 1 and 3 of three marks, three lesions: (1/1 + 2/3) / 3. A picture counted twice counts twice."""
    marks = [Mark((0, 0, 1, 1), 0.9, right=True), Mark((0, 0, 1, 1), 0.6), Mark((0, 0, 1, 1), 0.3, right=True)]
    lesions = np.array([1.0, 2.0])
    sets = np.array([[1.0, 1.0], [2.0, 1.0], [0.0, 0.0]])
    area = detection.average_precision(marks, [0, 0, 1], lesions, sets)
    assert area[:2] == pytest.approx([(1 + 2 / 3) / 3, (2 * 1 + 3 / 5) / 4])
    assert math.isnan(area[2])
    assert detection.average_precision([], [], lesions, sets[:1]) == 0


@laws
@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=8))
def test_average_precision_is_scikit_learns(marked: list[tuple[float, bool]]) -> None:
    """Where all lesions are found: scikit-learn knows of no others."""
    right = sum(is_right for _, is_right in marked)
    if right:
        marks = [Mark((0, 0, 1, 1), score, right=is_right) for score, is_right in marked]
        wanted = reference.average_precision_score([r for _, r in marked], [s for s, _ in marked])
        area = detection.average_precision(marks, [0] * len(marks), np.array([float(right)]), np.ones((1, 1)))
        assert area[0] == pytest.approx(wanted)


# ------------------------------------------------------------------------------------------ reliability


def test_calibration_error_by_hand() -> None:
    bins = reliability.table([0.9, 0.9, 0.1, 0.1], [1, 0, 0, 0])
    assert reliability.expected_error(bins) == pytest.approx((2 * 0.4 + 2 * 0.1) / 4)
    assert reliability.diagram(bins) == [(0.1, 0.0, 2), (0.9, 0.5, 2)]
    assert math.isnan(reliability.expected_error(reliability.table([], [])))


@laws
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_nothing_is_lost_between_bins(said: list[tuple[float, bool]]) -> None:
    bins = reliability.table(*zip(*said, strict=True))
    assert bins[:, 0].sum() == len(said)
    assert 0 <= reliability.expected_error(bins) <= 1


# ----------------------------------------------------------------------------------------- segmentation


def green_square() -> tuple[np.ndarray, Sample]:
    """A model's map (1, 1, 8, 8) that marks 4×4 of 8×8 cells, and a picture whose polyp is 4×8 of them."""
    polyp = np.full((1, 1, 8, 8), -9, np.float32)
    polyp[0, 0, 2:6, 0:4] = 9
    mask = np.zeros((80, 80), np.uint8)
    mask[20:60, :] = 255
    return polyp, Sample("a", np.zeros((80, 80, 3), np.uint8), mask)


def head() -> segment.Segment:
    return segment.open(segment.Config(), (TensorSpec(name="polyp", dtype="float32", shape=(1, 1, 8, 8)),))


def test_one_picture_by_hand() -> None:
    judged = segmentation.judge(*green_square(), "patient", head())
    assert judged.share == 0.5
    assert judged.overlap is not None
    assert judged.overlap.dice == pytest.approx(2 * 0.25 / 0.75, abs=0.02)  # bilinear: the rim is soft
    assert [mark.box for mark in judged.marks] == [(0, 20, 40, 60)]
    assert [(mark.hit, mark.right) for mark in judged.marks] == [(True, True)]
    assert judged.pixels[:, 0].sum() == 80 * 80


def test_the_report_tells_pictures_with_and_without_polyps_apart() -> None:
    good = segmentation.judge(*green_square(), "a", head())
    marked, clean = (Judged(name, name, 0.0, overlap(np.ones((1, 1)) > 2, np.ones((1, 1)) > 2), (), marks)
                     for name, marks in (("b", (Mark((0, 0, 1, 1), 0.9),)), ("c", ())))  # fmt: skip
    report = segmentation.report([good, marked, clean], Resampler(list("abc")))
    assert good.overlap is not None
    assert report["dice"] == pytest.approx(good.overlap.dice, abs=1e-5)  # of the one that has a polyp
    assert (report["picture_sensitivity"], report["picture_specificity"]) == (1.0, 0.5)
    assert (report["lesion_sensitivity"], report["mark_precision"]) == (1.0, 0.5)
    assert report["false_marks_per_picture"] == pytest.approx(1 / 3, abs=1e-5)
    assert [report["by_size"][size]["lesions"] for size in ("small", "medium", "large")] == [0, 0, 1]
    assert report["by_size"]["small"]["dice"] is None


def test_the_difference_of_two_encodings_is_paired() -> None:
    """Pictures differ a lot, the encodings by 0.01 on each: the difference is sure, though neither figure is."""
    of = [
        Judged(str(n), str(n), 0.1, overlap(np.ones((1, 10)) > 0, np.arange(10)[None] < n + 1), (), ())
        for n in range(9)
    ]
    worse = [Judged(j.name, j.group, j.share, type(j.overlap)(j.overlap.dice - 0.01, 0.0), (), ()) for j in of]  # type: ignore
    found = segmentation.difference(worse, of, Resampler([j.group for j in of]))
    assert found == {"dice_minus_fp32": -0.01, "dice_minus_fp32_ci95": [-0.01, -0.01]}


# ---------------------------------------------------------------------------------------------- classes

LANDMARK = ModelHead(name="landmark", output="landmark", kind="classify", labels=["other", "caecum"])
MAYO = ModelHead(name="mayo", output="mayo", kind="ordinal", labels=["0", "1", "2", "3"])


def test_classes_by_hand() -> None:
    """True 0 0 0 1, said 0 0 1 1: recalls 2/3 and 1, F1 0.8 and 2/3, MCC from (TP 1, TN 2, FP 1, FN 0)."""
    said = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    report = classes.report(LANDMARK, said, [0, 0, 0, 1], list("abcd"))
    assert report["balanced_accuracy"] == pytest.approx(5 / 6, abs=1e-5)
    assert report["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2, abs=1e-5)
    assert report["mcc"] == pytest.approx(2 / math.sqrt(2 * 1 * 3 * 2), abs=1e-5)
    assert report["confusion"] == [[2, 1], [0, 1]]
    assert report["f1"]["caecum"]["f1"] == pytest.approx(2 / 3, abs=1e-5)
    assert report["ece"] == pytest.approx((0.1 + 0.2 + 0.6 + 0.3) / 4, abs=1e-5)
    assert "qwk" not in report


@laws
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_figures_of_classes_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    true, said = zip(*pairs, strict=True)
    counts = reference.confusion_matrix(true, said, labels=range(4)).astype(float)
    there = sorted({*true, *said})
    recall = reference.recall_score(true, said, labels=sorted(set(true)), average="macro")
    assert classes.balanced_accuracy(counts) == pytest.approx(recall)
    f1 = reference.f1_score(true, said, labels=there, average="macro", zero_division=0.0)
    assert classes.macro_f1(counts) == pytest.approx(f1)
    if len(there) == 1:  # scikit-learn warns
        assert classes.matthews(counts) == 0
        assert math.isnan(classes.weighted_kappa(counts))
        return
    assert classes.matthews(counts) == pytest.approx(reference.matthews_corrcoef(true, said))
    kappa = reference.cohen_kappa_score(true, said, labels=range(4), weights="quadratic")
    assert classes.weighted_kappa(counts) == pytest.approx(kappa)


def test_weighted_kappa_by_hand() -> None:
    """True 0 1 2 3, said 0 1 2 2: one step off in four pictures, against the mean square over all pairings."""
    said = np.eye(4)[[0, 1, 2, 2]]
    chance = np.mean([[(t - s) ** 2 for s in (0, 1, 2, 2)] for t in (0, 1, 2, 3)])
    report = classes.report(MAYO, said, [0, 1, 2, 3], list("abcd"))
    assert report["qwk"] == pytest.approx(1 - 0.25 / chance, abs=1e-5)
    assert report["macro_f1"] == pytest.approx((1 + 1 + 2 / 3 + 0) / 4, abs=1e-5)


def test_a_class_that_is_not_there_is_not_counted() -> None:
    report = classes.report(MAYO, np.eye(4)[[1, 1, 2]], [1, 1, 2], list("abc"))
    assert (report["balanced_accuracy"], report["macro_f1"]) == (1.0, 1.0)
    assert report["f1"]["3"]["f1"] is None


def test_heads_are_read_as_the_box_reads_them() -> None:
    assert classes.probabilities(np.zeros((1, 2)), LANDMARK) == [0.5, 0.5]
    assert classes.probabilities(np.array([[9.0, 0.0, -9.0]]), MAYO) == pytest.approx([0, 0.5, 0.5, 0], abs=1e-3)
    with pytest.raises(ModelError, match="head mayo: 3 classes for 4 labels"):
        classes.probabilities(np.zeros((1, 2)), MAYO)
    with pytest.raises(ModelError, match="head landmark: its output landmark is not a number"):
        classes.probabilities(np.full((1, 2), np.nan), LANDMARK)


# ------------------------------------------------------------------------------------- robustness, video


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_corruptions_repeat_and_grow(corruption: str) -> None:
    picture = np.random.default_rng(3).integers(60, 190, (240, 300, 3), np.uint8)
    before, away = picture.copy(), [0.0]
    for strength in STRENGTHS:
        worse = corrupted(picture, "name", corruption, strength)
        np.testing.assert_array_equal(worse, corrupted(picture, "name", corruption, strength))
        assert (worse.shape, worse.dtype) == (picture.shape, picture.dtype)
        away.append(float(np.abs(worse.astype(float) - picture).mean()))
    assert away == sorted(away)
    assert len(set(away)) == 4
    np.testing.assert_array_equal(picture, before)


def test_another_operating_point_keeps_all_else() -> None:
    rules = at(RulesConfig(), 0.9, 12)
    assert (rules.tracks.start_score, rules.tracks.confirm, rules.tracks.window) == (0.9, 12, 12)
    assert rules.view == RulesConfig().view
