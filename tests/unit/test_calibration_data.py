"""Data folders, augmentation and the command line's errors."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import augment, pictures
from calibration.cli import main


def folder(tmp_path: Path, mask_size: tuple[int, int] = (40, 30)) -> Path:
    """One picture 40×30 and its mask."""
    for kind, size, tone in (("images", (40, 30), 120), ("masks", mask_size, 255)):
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / "a.png"), np.full((size[1], size[0]), tone, np.uint8))
    return tmp_path


def test_a_folder_is_read_in_rgb_at_the_side_asked_for(tmp_path: Path) -> None:
    data = folder(tmp_path)
    cv2.imwrite(str(data / "images" / "a.png"), np.full((30, 40, 3), (10, 20, 200), np.uint8))  # BGR
    (sample,) = pictures.segmentation(data, 16)
    assert sample.picture.shape == (16, 16, 3)
    assert tuple(sample.picture[0, 0]) == (200, 20, 10)
    assert set(np.unique(sample.mask)) == {255}


def missing(data: Path) -> None:
    (data / "masks" / "a.png").rename(data / "masks" / "b.png")


def empty(data: Path) -> None:
    (data / "images" / "a.png").unlink()


def damaged(data: Path) -> None:
    (data / "images" / "a.png").write_bytes(b"not a picture")


@pytest.mark.parametrize(
    ("harm", "said"),
    [(missing, "have no mask, first a.png"), (empty, "no pictures in it"), (damaged, "a.png: cannot be decoded")],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path, harm, said: str) -> None:  # type: ignore[no-untyped-def]
    data = folder(tmp_path)
    harm(data)
    with pytest.raises(pictures.DatasetError, match=said):
        pictures.segmentation(data, 16)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pictures.DatasetError, match=r"mask is 41×30, its picture a\.png is 40×30"):
        pictures.segmentation(folder(tmp_path, (41, 30)), 16)


def test_polyp_free_pictures_have_black_corners_and_empty_masks(tmp_path: Path) -> None:
    data = folder(tmp_path) / "images"
    cv2.imwrite(str(data / "kv1_x.png"), np.zeros((8, 8), np.uint8))
    (sample,) = pictures.polyp_free([data], 32, leave_out="kv1_")
    assert not sample.mask.any()
    assert not sample.picture[-1, 0].any()  # bottom left
    assert sample.picture[16, 20].all()


def test_phantom_pictures_are_cut_to_the_field_and_differ_by_seed() -> None:
    (first,), (again,), (other,) = (list(pictures.phantom(seed, 1, 64)) for seed in (1, 1, 2))
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
        ("train --data nowhere --encoder-weights none.pth --run r", 1, "none.pth: no such file"),
        ("export none.pt out.onnx", 1, "none.pt: no such checkpoint"),
        ("eval nowhere", 2, "nothing to judge by"),
        ("eval nowhere --speed", 1, "nowhere: no model here"),
        ("release none.toml a.onnx b.onnx", 2, "none.toml: no such file"),
        ("quantize none.onnx out.onnx --data nowhere", 1, "none.onnx: cannot be run"),
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
