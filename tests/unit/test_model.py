"""A released model is refused unless it is exactly what was released."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge import model
from edge.errors import ModelError
from edge.types import ModelHead, TensorSpec
from tests.support import models


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return models.build(tmp_path / "green")


def test_loads(folder: Path) -> None:
    loaded = model.load(folder)
    assert loaded.size == (models.SIZE, models.SIZE)
    assert loaded.content == (folder / "int8.onnx").read_bytes()


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty"])
def test_a_changed_file_is_refused(folder: Path, damage: str) -> None:
    file = folder / "int8.onnx"
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    changed = {"cut": content[:-1], "grow": content + b"\0", "empty": b"", "flip": content}[damage]
    file.write_bytes(changed)
    with pytest.raises(ModelError, match=r"int8\.onnx: refused: its sha256 is"):
        model.load(folder)


def test_missing_folder_and_file(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.toml is missing"):
        model.load(tmp_path / "none")
    (folder / "int8.onnx").unlink()
    with pytest.raises(ModelError, match=r"int8\.onnx: cannot be read: No such file"):
        model.load(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('version = "1"', 'versoin = "1"', r"unknown key versoin \(did you mean version\?\)"),
        ('licence = "Apache-2.0"', "", "licence is missing"),
        ('dtype = "uint8"', 'dtype = "float32"', r"input must be uint8 \[1, height, width, 4\], not float32"),
        ("[files.int8]", "[files.int4]", "files"),
        ('name = "green"', 'name = "green', "is not valid TOML"),
        ('kind = "segment"', 'kind = "classify"', r"heads\[0\] \(polyp\): a classify head needs an output of 2 axes"),
        ('output = "polyp"', 'output = "polyps"', r"heads\[0\] \(polyp\): output 'polyps' is missing; .* polyp, thumb"),
        (
            'output = "polyp"',
            'output = "thumbnail"',
            r"labels has 1 names, so .* 'thumbnail' should have 1 .*; it has 3",
        ),
        ('labels = ["polyp"]', 'labels = ["polyp", "polyp"]', r"labels has 'polyp' twice"),
        ('name = "detail"', 'name = "polyp"', "outputs: two are named 'polyp'"),
        ("[golden.tolerance.detail.", "[golden.tolerance.grain.", r"golden\.tolerance\.detail is missing"),
        (
            "[golden.tolerance.detail.fp32]",
            "[golden.tolerance.detail.int8_trt]",
            r"golden.tolerance.detail.fp32 is miss",
        ),
    ],
)
def test_a_wrong_manifest_names_file_and_key(folder: Path, old: str, new: str, message: str) -> None:
    toml = folder / "model.toml"
    before = toml.read_text()
    toml.write_text(before.replace(old, new))
    assert toml.read_text() != before
    with pytest.raises(ModelError, match=message) as caught:
        model.load(folder)
    assert "model.toml" in str(caught.value)


def test_labels_are_those_of_the_segment_heads(folder: Path) -> None:
    said = model.load(folder).manifest
    models.write(folder, msgspec.structs.replace(said, labels=["polyp", "ulcer"]))
    with pytest.raises(
        ModelError, match=r"labels is \['polyp', 'ulcer'\], but the segment heads' labels are \['polyp'\]"
    ):
        model.load(folder)


def test_an_ordinal_head_has_a_label_more_than_thresholds(folder: Path) -> None:
    said = model.load(folder).manifest
    wider = msgspec.structs.replace(
        said,
        outputs=[*said.outputs, TensorSpec(name="mayo", dtype="float32", shape=(1, 3))],
        golden=msgspec.structs.replace(
            said.golden, tolerance={**said.golden.tolerance, "mayo": said.golden.tolerance["polyp"]}
        ),
    )
    for labels, wrong in ((["0", "1", "2", "3"], []), (["0", "1", "2"], ["should have 2 channels; it has 3"])):
        head = ModelHead(name="mayo", output="mayo", kind="ordinal", labels=labels)
        found = list(model.faults(msgspec.structs.replace(wider, heads=[*said.heads, head])))
        assert len(found) == len(wrong)
        assert all(part in fault for part, fault in zip(wrong, found, strict=True))
