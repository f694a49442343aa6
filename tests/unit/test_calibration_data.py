"""Data folders, augmentation and the command line's errors."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import augment, pictures
from calibration.cli import main
from calibration.datasets import phantom


def pair(folder: Path, mask_size: tuple[int, int] = (40, 30)) -> tuple[Path, Path]:
    """One picture 40×30, reddish, and its mask."""
    picture, mask = folder / "a.png", folder / "m.png"
    cv2.imwrite(str(picture), np.full((30, 40, 3), (10, 20, 200), np.uint8))  # BGR
    cv2.imwrite(str(mask), np.full((mask_size[1], mask_size[0]), 255, np.uint8))
    return picture, mask


def test_a_pair_is_read_in_rgb_and_squashed_to_the_side_asked_for(tmp_path: Path) -> None:
    sample = pictures.squashed(pictures.read_pair(*pair(tmp_path)), 16)
    assert sample.picture.shape == (16, 16, 3)
    assert tuple(sample.picture[0, 0]) == (200, 20, 10)
    assert set(np.unique(sample.mask)) == {255}


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    picture, mask = pair(tmp_path)
    picture.write_bytes(b"not a picture")
    with pytest.raises(pictures.DatasetError, match=r"a\.png: cannot be decoded"):
        pictures.read_pair(picture, mask)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pictures.DatasetError, match=r"mask is 41×30, its picture a\.png is 40×30"):
        pictures.read_pair(*pair(tmp_path, (41, 30)))


def test_burnt_in_corners_are_blackened_in_a_copy(tmp_path: Path) -> None:
    given = pictures.rgb(pair(tmp_path)[0])
    without = pictures.without_burnt_in(given)
    assert not without[-1, 0].any()  # bottom left
    assert without[15, 20].all()
    assert given[-1, 0].any()


def test_phantom_pictures_are_cut_to_the_field_and_differ_by_seed() -> None:
    (first,), (again,), (other,) = (list(phantom.samples(seed, 1, 64)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.picture, again.picture)
    assert (first.picture != other.picture).any()
    rows = first.picture.max((1, 2)) > 0
    assert rows.mean() > 0.9


@pytest.mark.parametrize("step", [augment.warp, *(s for _, s in augment.STEPS)], ids=lambda s: s.__name__)
def test_every_augmentation_keeps_shape_and_type_and_repeats(step) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(5)
    picture, mask = rng.integers(0, 256, (64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 255
    extra = (64,) if step is augment.warp else ()
    one, two = (step(np.random.default_rng(3), picture.copy(), mask.copy(), *extra) for _ in range(2))
    for got, again, given in zip(one, two, (picture, mask), strict=True):
        np.testing.assert_array_equal(got, again)
        assert (got.shape, got.dtype) == (given.shape, given.dtype)
    assert (one[0] != picture).any()


def test_geometry_moves_picture_and_mask_together() -> None:
    mask = np.zeros((64, 64), np.uint8)
    cv2.circle(mask, (30, 34), 12, 255, -1)
    for seed in range(5):
        picture, moved = augment.warp(np.random.default_rng(seed), np.dstack([mask] * 3), mask, 64)
        np.testing.assert_array_equal(picture[..., 0], moved)


def test_augmentation_leaves_the_cached_sample_alone() -> None:
    picture, mask = np.full((64, 64, 3), 99, np.uint8), np.full((64, 64), 255, np.uint8)
    for seed in range(20):
        augment.augmented(np.random.default_rng(seed), picture, mask, 64)
    assert (picture == 99).all()
    assert (mask == 255).all()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("train --recipe none.toml --manifest none.jsonl --run r", 1, "none.toml: cannot be read"),
        ("export none.pt out.onnx", 1, "none.pt: no such checkpoint"),
        ("eval nowhere", 2, "nothing to judge by"),
        ("eval nowhere --speed", 1, "nowhere: no model here"),
        ("release none.toml build --eval none.json", 1, "none.toml: cannot be read"),
        ("quantize none.onnx out --data folder nowhere", 1, "none.onnx: cannot be run"),
    ],
)
def test_errors_are_one_line(
    arguments: str,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
