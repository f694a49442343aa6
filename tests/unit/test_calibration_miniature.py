"""The whole factory in miniature, by its commands: drawn discs to a released model, with a kill -9 on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import recipe  # noqa: E402
from calibration.cli import main  # noqa: E402
from calibration.encoders import mobilenetv2  # noqa: E402
from calibration.eval.runner import Runner  # noqa: E402
from edge import model  # noqa: E402

ROOT = Path(recipe.__file__).parent.parent
MINI = ROOT / "calibration" / "recipes" / "mini.toml"
DESCRIPTION = """
version = "1"
labels = ["polyp"]
licence = "ours"
training_data = ["drawn discs"]
title = "Finds discs."
summary = "A test."
intended_use = "tests"
known_failures = ["whatever is no disc"]
made_by = ["endoedge-model train --recipe mini.toml"]
"""


def wall(rng: np.random.Generator, tone: tuple[int, int, int]) -> np.ndarray:
    """No two alike, even to a perceptual hash."""
    patches = np.clip(rng.normal(tone, 45, (4, 4, 3)), 0, 160).astype(np.uint8)
    return cv2.resize(patches, (80, 64), interpolation=cv2.INTER_CUBIC)


def draw(folder: Path) -> None:
    """Two data sets in published layouts: discs with masks, and walls of two colours without."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 6)):
        discs, walls = folder / "discs" / split, folder / "walls" / split / "normal-cecum"
        for place in (discs / "images", discs / "masks", walls):
            place.mkdir(parents=True)
        for index in range(count):
            picture, mask = wall(rng, (90, 60, 60)), np.zeros((64, 80), np.uint8)
            cv2.circle(mask, [int(v) for v in rng.integers((24, 20), (56, 44))], int(rng.integers(10, 18)), 255, -1)
            picture[mask > 0] = (240, 230, 200)
            cv2.imwrite(str(discs / "images" / f"{split}{index}.png"), picture[..., ::-1])
            cv2.imwrite(str(discs / "masks" / f"{split}{index}.png"), mask)
            cv2.imwrite(str(walls / f"{split}{index}.png"), wall(rng, (30, 90, 30))[..., ::-1])
    (folder / "walls" / "dataset.toml").write_text('licence = "ours"\nships = true\n')


def imagenet(path: Path) -> Path:
    """A file of the form that MobileNetV2's given weights have."""
    torch.manual_seed(0)
    convs = [m for m in mobilenetv2.open().modules() if isinstance(m, torch.nn.Conv2d)]
    named = {f"convs.{i}.{name}": value for i, conv in enumerate(convs) for name, value in conv.state_dict().items()}
    torch.save(named, path)
    return path


def command(*words: object) -> list[str]:
    return [str(word) for word in words]


def killed_after_its_first_epoch(words: list[str]) -> None:
    """Run a command in a process of its own; kill -9 once it says that an epoch is done."""
    with subprocess.Popen(
        [sys.executable, "-m", "calibration", *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        said = next((line for line in process.stdout if line.startswith("base 1/")), "")
        process.send_signal(signal.SIGKILL)
    assert said
    assert process.returncode == -signal.SIGKILL


def tool(name: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / name), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(900)
def test_from_pictures_to_a_released_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path)
    listed, run, built = tmp_path / "all.jsonl", tmp_path / "run", tmp_path / "run" / "model"
    sets = ["--dataset", "kvasir_seg", tmp_path / "discs", "--dataset", "folder", tmp_path / "walls"]
    assert main(command("manifest", listed, *sets)) == 0

    train = command(
        "train", "--recipe", MINI, "--manifest", listed, "--run", run, "--device", "cpu",
        "--weights", imagenet(tmp_path / "imagenet.pth"),
    )  # fmt: skip
    killed_after_its_first_epoch(train)
    assert not (run / "student").exists()
    assert main(train) == 0

    made = recipe.load(MINI)
    for stage in made.stages:
        log = (run / stage.name / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in log] == list(range(1, stage.epochs + 1))
    record = json.loads((run / "run.json").read_text())
    assert list(record["stages"]) == [stage.name for stage in made.stages]
    assert not record["development"]

    capsys.readouterr()
    assert main(command("eval", built, "--dataset", "kvasir_seg", tmp_path / "discs", "--split", "val", "--json")) == 0
    (tmp_path / "polyp.json").write_text(capsys.readouterr().out)
    assert main(command("eval", built, "--dataset", "folder", tmp_path / "walls", "--split", "val", "--json")) == 0
    (tmp_path / "walls.json").write_text(capsys.readouterr().out)
    (tmp_path / "discs.toml").write_text(DESCRIPTION)
    evidence = ["--eval", tmp_path / "polyp.json", "--eval", tmp_path / "walls.json"]
    assert main(command("release", tmp_path / "discs.toml", built, *evidence, "--models", tmp_path / "models")) == 0

    loaded = model.load(tmp_path / "models" / "discs", "int8").manifest
    assert [head.name for head in loaded.heads] == ["polyp", "landmark"]
    picture = np.full((64, 64, 3), 60, np.uint8)
    cv2.circle(picture, (32, 32), 14, (240, 230, 200), -1)
    logits = Runner(tmp_path / "models" / "discs" / "int8.onnx", threads=1).logits(picture)
    assert logits[26:38, 26:38].mean() > logits[:8].mean()
    assert msgspec.to_builtins(loaded.heads[1])["labels"] == ["other", "caecum"]

    discs = command("--dataset", "kvasir_seg", tmp_path / "discs", "--side", 64, "--json")
    rows = [json.loads(line) for line in tool("ideas.py", str(run), *discs).splitlines()]
    stages = [f"stage {stage.name}" for stage in made.stages]
    assert [row["idea"] for row in rows[: len(stages)]] == stages
    assert len(rows) == len(stages) + 5
    assert all(0 <= row["kvasir_seg"] <= 1 for row in rows)
