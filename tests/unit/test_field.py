"""Field detection: what is the endoscope's, what is the tower's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.capture import field
from edge.types import Field

W, H = 640, 512


def picture(shape: str, brightness: int = 120) -> np.ndarray:
    luma = np.zeros((H, W), np.uint8)
    if shape == "round":
        cv2.circle(luma, (380, 256), 240, brightness, -1)
    elif shape == "octagon":
        cv2.fillPoly(luma, [octagon().astype(np.int32)], brightness)
    elif shape == "whole":
        luma[:] = brightness
    return luma


def octagon() -> np.ndarray:
    x0, y0, x1, y1, cut = 150, 16, 620, 496, 90
    return np.array(
        [(x0 + cut, y0), (x1 - cut, y0), (x1, y0 + cut), (x1, y1 - cut), (x1 - cut, y1), (x0 + cut, y1), (x0, y1 - cut),
         (x0, y0 + cut)], float,
    )  # fmt: skip


def overlay(luma: np.ndarray) -> np.ndarray:
    for line, text in enumerate(["DOE JANE", "1970/01/01", "11:12:17"]):
        cv2.putText(luma, text, (8, 60 + 30 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2)
    return luma


@pytest.mark.parametrize(("shape", "box"), [("round", (140, 16, 620, 496)), ("octagon", (150, 16, 620, 496))])
def test_found_within_two_pixels_and_inside_the_real_one(shape: str, box: tuple[int, ...]) -> None:
    found = field.find([overlay(picture(shape))], W, H)
    assert found is not None
    x0, y0, x1, y1 = box
    got = (found.x, found.y, found.x + found.width, found.y + found.height)
    assert np.abs(np.subtract(got, (x0, y0, x1, y1))).max() <= 3
    kept = field.keep_mask(found, found.width, found.height) > 0
    real = picture(shape)[found.y : found.y + found.height, found.x : found.x + found.width] > 0
    assert (kept & ~real).mean() < 0.002  # nothing of the tower's comes through ...
    assert (real & ~kept).mean() < 0.03  # ... and little of the endoscope's is lost


def test_overlay_text_is_black_after_masking() -> None:
    luma = overlay(picture("octagon"))
    found = field.find([luma], W, H)
    assert found is not None
    whole_mask = np.zeros((H, W), np.uint8)
    cv2.fillConvexPoly(whole_mask, np.round(np.array(found.outline)).astype(np.int32), 1)
    text = (overlay(np.zeros((H, W), np.uint8)) > 0) & (picture("octagon") == 0)
    assert text.any()
    assert not (whole_mask[text] > 0).any()


def test_dark_frames_add_up() -> None:
    """No single frame shows the whole field: the lumen is dark in one place, then in another."""
    left, right = picture("octagon"), picture("octagon")
    left[:, 400:] = 8
    right[:, :370] = 8
    found = field.find([left, right], W, H)
    assert found is not None
    assert found.width > 460


def test_a_picture_without_border_is_its_own_field() -> None:
    found = field.find([picture("whole")], W, H)
    assert found is not None
    expected = field.whole(W, H)
    assert (found.x, found.y, found.width, found.height) == (0, 0, W, H)
    assert sorted(found.outline) == sorted(expected.outline)
    assert (field.keep_mask(found, 256, 256) == 0xFFFFFFFF).all()


@pytest.mark.parametrize("luma", [np.zeros((H, W), np.uint8), overlay(np.zeros((H, W), np.uint8))])
def test_nothing_to_find(luma: np.ndarray) -> None:
    assert field.find([luma], W, H) is None


def test_picture_in_picture_is_left_out() -> None:
    luma = picture("round")
    luma[20:120, 10:110] = 120
    found = field.find([luma], W, H)
    assert found is not None
    assert found.x > 130


def test_unknown_layout_is_not_guessed() -> None:
    """A field is convex; this is an L."""
    luma = np.zeros((H, W), np.uint8)
    luma[20:490, 20:200] = 120
    luma[380:490, 20:620] = 120
    assert field.find([luma], W, H) is None


def test_mask_scales_with_the_model() -> None:
    corners = ((100.0, 0.0), (200.0, 100.0), (100.0, 200.0), (0.0, 100.0))
    mask = field.keep_mask(Field(x=0, y=0, width=200, height=200, outline=corners), 64, 32)
    assert mask.shape == (32, 64)
    assert abs((mask > 0).mean() - 0.5) < 0.06
