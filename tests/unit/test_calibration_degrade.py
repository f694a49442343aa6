"""Spoilt pictures: every condition measurably is what it says, mild ones are not, and nothing leaks the answer."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from calibration import degrade, views
from calibration.degrade import CONDITIONS, degraded, developed, field, linear, usable
from calibration.heads import named
from calibration.pictures import BURNT_IN, Picture

SIDE, DRAWS = 128, 12


@pytest.fixture(scope="module")
def picture() -> Picture:
    """A reddish, textured round field on black, sharp and well exposed; a smaller dark hole inside it, like a lumen."""
    rng = np.random.default_rng(1)
    blobs = cv2.resize(rng.uniform(0.35, 1, (20, 20)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    vessels = 1 - 0.35 * (cv2.resize(rng.random((64, 64)), (SIDE, SIDE)) > 0.7)
    rgb = (blobs * vessels)[..., None] * (225, 120, 95)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    rgb[np.hypot(x, y) > 0.48 * SIDE] = 0
    rgb[np.hypot(x - 20, y) < 6] = 2
    return np.clip(rgb, 0, 255).astype(np.uint8)


def drawn(picture: Picture, condition: str) -> Iterator[Picture]:
    for seed in range(DRAWS):
        yield degraded(np.random.default_rng(seed), picture, condition)


def inside(picture: Picture, mask: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[mask > 0].astype(float)


def sharpness(picture: Picture, mask: np.ndarray) -> float:
    """Energy of fine detail, of noise freed pixels, relative to the mean light."""
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 0.8)
    core = cv2.erode(mask, np.ones((9, 9), np.uint8)) > 0
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F))[core].mean() / max(grey[core].mean(), 1))


def test_light_and_bytes_are_two_spellings_of_one_picture(picture: Picture) -> None:
    np.testing.assert_array_equal(developed(linear(picture)), picture)


def test_the_field_is_what_is_not_black_up_to_the_border(picture: Picture) -> None:
    mask = field(picture)
    assert not mask[0].any()
    assert mask[SIDE // 2, SIDE // 2 + 20] == 1, "a dark lumen is inside the field"


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_is_a_function_of_the_seed_and_leaves_its_picture_alone(picture: Picture, condition: str) -> None:
    before = picture.copy()
    first, again = (degraded(np.random.default_rng(3), picture, condition) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(picture, before)
    assert first.shape == picture.shape
    assert first.dtype == np.uint8
    assert (first != degraded(np.random.default_rng(4), picture, condition)).any()


@pytest.mark.parametrize("condition", CONDITIONS)
def test_outside_the_field_all_is_black_whatever_the_condition(picture: Picture, condition: str) -> None:
    mask = field(picture)
    assert all(not spoilt[mask == 0].any() for spoilt in drawn(picture, condition))


def test_blurred_has_lost_its_detail_and_clear_has_not(picture: Picture) -> None:
    mask = field(picture)
    was = sharpness(picture, mask)
    lost = [sharpness(spoilt, mask) / was for spoilt in drawn(picture, "blurred")]
    kept = [sharpness(spoilt, mask) / was for spoilt in drawn(picture, "clear")]
    assert max(lost) < 0.6
    assert np.median(kept) > 0.7
    assert np.median(lost) < 0.6 * np.median(kept)


def test_over_exposed_is_burnt_out_and_clear_is_not(picture: Picture) -> None:
    mask = field(picture)
    assert min((inside(p, mask) > 240).mean() for p in drawn(picture, "over_exposed")) > 0.12
    assert max((inside(p, mask) > 240).mean() for p in drawn(picture, "clear")) < 0.1


def test_under_exposed_is_dark_and_clear_is_not(picture: Picture) -> None:
    mask = field(picture)
    assert max(inside(p, mask).mean() for p in drawn(picture, "under_exposed")) < 45
    assert min(inside(p, mask).mean() for p in drawn(picture, "clear")) > 60


def test_obscured_hides_most_of_the_picture_and_clear_hardly_any(picture: Picture) -> None:
    """How well the spoilt picture's detail goes with the true one's, cell by cell."""
    mask = field(picture)

    def likeness(spoilt: Picture) -> float:
        return float(np.corrcoef(inside(picture, mask), inside(spoilt, mask))[0, 1])

    assert np.median([likeness(p) for p in drawn(picture, "obscured")]) < 0.75
    assert np.median([likeness(p) for p in drawn(picture, "clear")]) > 0.9


def test_out_of_body_keeps_nothing_of_the_picture(picture: Picture) -> None:
    negative = (255 - picture) * field(picture)[..., None]
    for seed in range(4):
        one, other = (degraded(np.random.default_rng(seed), p, "out_of_body") for p in (picture, negative))
        same = field(picture) & field(negative)
        assert np.abs(one.astype(int) - other)[same > 0].mean() < 3


def test_rooms_are_less_red_than_tissue(picture: Picture) -> None:
    mask = field(picture) > 0
    redness = [float(p[mask][:, 0].sum() / max(p[mask].sum(), 1)) for p in drawn(picture, "out_of_body")]
    assert np.median(redness) < float(picture[mask][:, 0].sum() / picture[mask].sum()) - 0.08


def test_usable_turns_away_what_is_not_clear_itself(picture: Picture) -> None:
    large = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_CUBIC)
    assert usable(large)
    assert not usable(cv2.GaussianBlur(large, (0, 0), 6))
    assert not usable((large * 0.2).astype(np.uint8))
    assert not usable(np.where(large > 60, 255, 0).astype(np.uint8))
    assert not usable(np.zeros_like(large))


# ---------------------------------------------------------------------------------------------- views


@pytest.mark.parametrize("name", ["landmark", "view"])
def test_what_recorders_write_is_black_when_a_head_is_judged(name: str) -> None:
    head, white = named(name), np.full((200, 260, 3), 200, np.uint8)
    shown = views.judged(head, np.random.default_rng(0), white, head.labels[0], 64)
    for x0, y0, x1, y1 in BURNT_IN:
        middle = shown[int((y0 + y1) / 2 * 64), int((x0 + x1) / 2 * 64)]
        assert not middle.any()


def test_training_never_sees_what_recorders_write(picture: Picture) -> None:
    """Corners painted in a colour that nothing else has are in no view, cropped or not."""
    painted = np.full((200, 260, 3), (120, 60, 60), np.uint8)
    for x0, y0, x1, y1 in BURNT_IN:
        painted[int(y0 * 200) : int(y1 * 200), int(x0 * 260) : int(x1 * 260)] = (0, 255, 0)
    head = named("landmark")
    for seed in range(40):
        rng = np.random.default_rng(seed)
        square = views._moved(rng, views._cropped(rng, painted), 64, head.flips)
        red, green = square[..., 0].astype(int), square[..., 1].astype(int)
        assert (green <= red + 2).all()


def test_views_differ_and_repeat(picture: Picture) -> None:
    head = named("preparation")
    first, again, other = (
        views.varied(head, np.random.default_rng(seed), picture, head.labels[0], 64) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_conditions_are_the_view_heads_labels() -> None:
    assert named("view").labels == CONDITIONS == tuple(degrade._BY_NAME)
