"""Golden vectors: the released answers are recognised, others are told apart with numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from calibration import golden as making
from edge import golden, model
from edge.errors import ModelError
from edge.infer import onnx
from edge.types import Model, Tolerance
from tests.support import models


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return models.build(tmp_path / "green")


class Altered:
    """A backend whose answers are changed on their way."""

    def __init__(self, loaded: Model, **changes: Any) -> None:
        self.backend, self.changes = onnx.open(onnx.Config(), loaded), changes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def infer(self, image: Any) -> Mapping[str, Any]:
        answers = self.backend.infer(image)
        return {name: self.changes.get(name, lambda a: a)(array) for name, array in answers.items()}


def one_value(array: Any) -> Any:
    array = array.copy()
    array.flat[5] = np.nan
    return array


def test_the_released_model_gives_the_released_answers(folder: Path) -> None:
    loaded = model.load(folder)
    found = golden.differences(loaded, onnx.open(onnx.Config(), loaded))
    assert {difference.output for difference in found} == {"polyp", "thumbnail", "detail"}
    assert all(difference.fits for difference in found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a + 9.0, "off by at most 9"),
        (lambda a: np.roll(a, 1, axis=3), "of the values by more than"),
        (one_value, "off by at most inf"),
    ],
)
def test_another_answer_is_told_with_output_and_numbers(folder: Path, change: Any, said: str) -> None:
    loaded = model.load(folder)
    found = {d.output: d for d in golden.differences(loaded, Altered(loaded, polyp=change))}
    assert not found["polyp"].fits
    assert str(found["polyp"]).startswith("polyp: ")
    assert said in str(found["polyp"])
    assert found["detail"].fits


def test_a_few_values_may_be_off_by_some_steps() -> None:
    allowed, wanted = Tolerance(near=0.5, share=0.02, most=2.0), np.zeros(100, np.float32)
    for count, by, fits in ((2, 1.9, True), (3, 1.9, False), (1, 2.1, False), (100, 0.5, True)):
        found = wanted.copy()
        found[:count] = by
        assert golden.difference("x", found, wanted, allowed).fits is fits


def test_a_changed_archive_is_refused(folder: Path) -> None:
    loaded = model.load(folder)
    content = bytearray((folder / "golden.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "golden.npz").write_bytes(content)
    with pytest.raises(ModelError, match=r"golden\.npz: refused: its sha256"):
        golden.vectors(loaded)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"image": np.zeros((1, 64, 64, 4), np.uint8)}, "polyp is missing"),
        ({}, "image is missing"),
        (
            {"image": np.zeros((1, 32, 32, 4), np.uint8)},
            r"image is uint8 \[1, 32, 32, 4\], expected uint8 \[1, 64, 64, 4\]",
        ),
        ({"image": np.zeros((1, 64, 64, 4), np.int64)}, "image is int64"),
        ({"image": np.zeros((0, 64, 64, 4), np.uint8)}, r"image is uint8 \[0, 64, 64, 4\], expected uint8 \[1, 64"),
    ],
)
def test_arrays_that_do_not_fit_the_model_are_named(folder: Path, arrays: dict[str, Any], said: str) -> None:
    np.savez(folder / "golden.npz", **arrays)
    with pytest.raises(ModelError, match=rf"golden\.npz: {said}"):
        golden.vectors(_trusting(folder))


def test_what_is_no_archive_is_named(folder: Path) -> None:
    (folder / "golden.npz").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(ModelError, match=r"golden\.npz: is no archive of arrays"):
        golden.vectors(_trusting(folder))


def _trusting(folder: Path) -> Model:
    """The folder's model, with the digest of the archive as it is now."""
    loaded = model.load(folder)
    digest = hashlib.sha256((folder / "golden.npz").read_bytes()).hexdigest()
    entry = msgspec.structs.replace(loaded.manifest.golden, sha256=digest)
    return msgspec.structs.replace(loaded, manifest=msgspec.structs.replace(loaded.manifest, golden=entry))


def test_tolerance_leaves_room_and_never_asks_for_less_than_a_step() -> None:
    golden_values = np.linspace(-5, 5, 1000, dtype=np.float32)
    same = making.tolerance(golden_values, golden_values)
    assert (same.near, same.most) == (0.1, 0.2)
    shifted = making.tolerance(golden_values, golden_values + 1)
    assert (shifted.near, shifted.most) == (2.0, 4.0)


def test_the_pictures_show_a_colon_and_a_card() -> None:
    """That the phantom draws the same colon every time is its own tests' business."""
    frames = making.frames(64)
    assert frames.shape == (making.PHANTOMS + 1, 64, 64, 4)
    assert (frames[..., 3] == 255).all()
    red, _, blue = np.moveaxis(frames[:-1, ..., :3].astype(int), 3, 0)
    assert red.sum() > 1.3 * blue.sum()
    np.testing.assert_array_equal(frames[-1, ..., :3], making.card(64))
