"""What is looked at before hours are spent, and stages that start from one another."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import encoders, manifest, recipe  # noqa: E402
from calibration.manifest import Entry, Manifest, Root  # noqa: E402
from calibration.pictures import DatasetError  # noqa: E402
from calibration.train import Job, Place, StageFolder, Watcher, preflight  # noqa: E402
from calibration.train import trained as finished  # noqa: E402
from calibration.train.folder import read_checkpoint  # noqa: E402
from calibration.train.sources import Pool  # noqa: E402
from calibration.train.stages import train_stage  # noqa: E402
from edge.errors import ModelError  # noqa: E402

MINI = (Path(recipe.__file__).parent / "recipes/mini.toml").read_text()
PLAIN = MINI.replace('names = ["landmark"]', "names = []", 1)


def listed(folder: Path, polyps: int = 16, ships: bool = True, mask: tuple[int, int] = (80, 64)) -> Manifest:
    """A manifest of one polyp picture 80×64 under many names, and two without."""
    cv2.imwrite(str(folder / "p.png"), np.full((64, 80, 3), 70, np.uint8))
    cv2.imwrite(str(folder / "m.png"), np.full((mask[1], mask[0]), 255, np.uint8))
    entries = []
    for index in range(polyps + 2):
        bearing = index < polyps
        shutil.copyfile(folder / "p.png", folder / f"{index}.png")
        named = {"mask": "m.png", "mask_sha256": "0"} if bearing else {}
        entries.append(
            Entry(
                dataset="discs",
                path=f"{index}.png",
                sha256=str(index),
                split="train",
                group=str(index),
                licence="ours",
                ships=ships,
                polyp_free=not bearing,
                **named,
            )
        )
    manifest.write(folder / "all.jsonl", [Root(dataset="discs", layout="folder", path=".")], entries)
    return manifest.read(folder / "all.jsonl")


def looked_at(folder: Path, recipe_text: str, pictures: Manifest, weights: Path | None) -> None:
    (folder / "r.toml").write_text(recipe_text)
    job = Job(recipe.load(folder / "r.toml"), pictures, folder / "run", weights, None, Place(), Watcher())
    preflight.check(job, Pool(pictures, job.recipe))


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    convs = [m for m in encoders.open("mobilenetv2").modules() if isinstance(m, torch.nn.Conv2d)]
    state = {f"convs.{i}.{name}": value for i, conv in enumerate(convs) for name, value in conv.state_dict().items()}
    torch.save(state, tmp_path / "imagenet.pth")
    return tmp_path / "imagenet.pth"


def test_nothing_is_said_where_nothing_is_wrong(tmp_path: Path, imagenet: Path) -> None:
    looked_at(tmp_path, PLAIN, listed(tmp_path), imagenet)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"polyps": 3}, "stage base: 3 training pictures, fewer than one batch of 4"),
        ({"polyps": 12}, "quantize wants 16 pictures to calibrate on, but the manifest has 12"),
        ({"ships": False}, "stage base: 0 training pictures"),
        ({"mask": (81, 64)}, r"m\.png: mask is 81×64, its picture 0\.png is 80×64"),
    ],
)
def test_too_little_or_odd_data_is_refused(tmp_path: Path, imagenet: Path, words: dict[str, Any], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        looked_at(tmp_path, PLAIN, listed(tmp_path, **words), imagenet)


def test_what_may_not_ship_is_for_development_only(tmp_path: Path, imagenet: Path) -> None:
    looked_at(tmp_path, "development = true\n" + PLAIN, listed(tmp_path, ships=False), imagenet)


def test_a_class_without_pictures_is_refused(tmp_path: Path, imagenet: Path) -> None:
    with pytest.raises(DatasetError, match="head landmark, train, class caecum: 0 pictures"):
        looked_at(tmp_path, MINI, listed(tmp_path), imagenet)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "0.png: no such file, though the manifest names it"),
        (lambda path: path.write_bytes(b"not a picture"), "0.png: cannot be decoded"),
    ],
)
def test_a_missing_or_damaged_picture_is_named(
    tmp_path: Path, imagenet: Path, harm: Callable[[Path], object], said: str
) -> None:
    pictures = listed(tmp_path)
    harm(tmp_path / "0.png")
    with pytest.raises(DatasetError, match=said):
        looked_at(tmp_path, PLAIN, pictures, imagenet)


def test_wrong_weights_are_one_line(tmp_path: Path) -> None:
    pictures, wrong = listed(tmp_path), tmp_path / "wrong.pth"
    with pytest.raises(ModelError, match="stage base starts from given weights, but none are given"):
        looked_at(tmp_path, PLAIN, pictures, None)
    wrong.write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"wrong\.pth: not a file of MobileNetV2 weights") as raised:
        looked_at(tmp_path, PLAIN, pictures, wrong)
    assert "\n" not in str(raised.value)
    torch.save([1, 2], wrong)
    with pytest.raises(ModelError, match=r"wrong\.pth: no tensor convs\.0\.weight"):
        looked_at(tmp_path, PLAIN, pictures, wrong)


def test_a_checkpoint_of_other_widths_is_found_before_training(tmp_path: Path, imagenet: Path) -> None:
    pictures = listed(tmp_path)
    looked_at(tmp_path, PLAIN, pictures, imagenet)
    made = recipe.load(tmp_path / "r.toml")
    job = Job(made, pictures, tmp_path / "run", imagenet, None, Place(), Watcher())
    teacher = made.stage("teacher")
    StageFolder(job.stage_folder("teacher"), job.identity(teacher, Pool(pictures, made).digest())).save(
        {"average": {}}, []
    )
    looked_at(tmp_path, PLAIN, pictures, imagenet)
    with pytest.raises(DatasetError, match=r"run/teacher: .* another recipe or other data \(stage differs\)"):
        looked_at(tmp_path, PLAIN.replace("[8, 12, 12, 16]", "[8, 12, 12, 20]"), pictures, imagenet)


# ---------------------------------------------------------------------------------------------- stages

FROM_NOTHING = """
name = "r"
seed = 1
side = 64
encoder = "repdense"
data = { kept_side = 64 }
quantize = { pictures = 16 }

[[stages]]
name = "elder"
encoder = "mobilenetv2"
start = "weights"
epochs = 1
batch = 16
side = 64
seed = 1
widths = [8, 8, 8, 8]
mixed = false

[[stages]]
name = "encoder"
kind = "distil-encoder"
teacher = "elder"
epochs = 1
batch = 16
side = 64
seed = 2
mixed = false

[[stages]]
name = "student"
start = "encoder"
epochs = 1
batch = 16
side = 64
seed = 3
widths = [8, 8, 8, 8]
mixed = false
frozen = 5
"""


def test_an_encoder_without_weights_learns_from_an_earlier_stage(tmp_path: Path, imagenet: Path) -> None:
    pictures, said = listed(tmp_path), []
    (tmp_path / "r.toml").write_text(FROM_NOTHING)
    watch = Watcher(say=said.append)
    job = Job(recipe.load(tmp_path / "r.toml"), pictures, tmp_path / "run", imagenet, None, Place(), watch)
    pool = Pool(pictures, job.recipe)
    for one in job.recipe.stages:
        train_stage(job, pool, one)
    assert said == ["stage student: encoder of encoder, a fresh decoder of widths (8, 8, 8, 8)"]
    learned = read_checkpoint(job.checkpoint("encoder"))["average"]
    student = finished(job.checkpoint("student"))
    for name, value in student.encoder.state_dict().items():
        assert torch.equal(value, learned[name]), name  # all of it was frozen, its batch statistics too
    said.clear()
    assert train_stage(job, pool, job.recipe.stages[1]) > 0
    assert said == ["stage encoder: trained already"]
