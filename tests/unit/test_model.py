"""A released model is refused unless it is exactly what was released."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge import model
from edge.errors import ModelError
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
        ('labels = ["polyp"]', "", "labels is missing"),
        ('dtype = "uint8"', 'dtype = "float32"', r"input must be uint8 \[1, height, width, 4\], not float32"),
        ("[files.int8]", "[files.int4]", "files"),
        ('name = "green"', 'name = "green', "is not valid TOML"),
    ],
)
def test_a_wrong_manifest_names_file_and_key(folder: Path, old: str, new: str, message: str) -> None:
    toml = folder / "model.toml"
    toml.write_text(toml.read_text().replace(old, new))
    with pytest.raises(ModelError, match=message) as caught:
        model.load(folder)
    assert "model.toml" in str(caught.value)
