"""The recipe on a model that knows nothing: it learns, it is merged, and a kill changes nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.finetune.conftest import ENVIRONMENT, RECIPE, ROOT

Done = subprocess.CompletedProcess[str]


def history(desk: Path, stage: str, key: str) -> list[float]:
    result: dict[str, Any] = json.loads((desk / "out" / stage / "adapter" / "result.json").read_text())
    return [line[key] for line in result["history"] if key in line]


def test_the_whole_recipe_runs_without_a_network(chain: Done) -> None:
    assert chain.returncode == 0, chain.stderr
    assert "Warning" not in chain.stderr


@pytest.mark.parametrize("key", ["loss", "eval_loss"])
def test_the_loss_falls_also_on_what_was_held_apart(chain: Done, desk: Path, key: str) -> None:
    losses = history(desk, "sft", key)
    assert losses[-1] < losses[0] - 0.05


def test_what_was_signed_is_preferred_more_and_more(chain: Done, desk: Path) -> None:
    margins, losses = history(desk, "dpo", "rewards/margins"), history(desk, "dpo", "loss")
    assert margins[0] == pytest.approx(0, abs=1e-5)  # at first it is the model before
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert margins[-1] > 0.5
    assert losses[-1] < 0.5
    assert history(desk, "dpo", "eval_rewards/margins")[-1] > 0.5


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_a_merged_checkpoint_answers_as_its_parts(chain: Done, stage: str) -> None:
    told = json.loads(chain.stdout.splitlines()[-1])[stage]
    assert told["learnt"] > 0.01  # the adapter does something
    assert told["apart"] < 1e-4
    assert (told["same"], told["said"] > 0) == (True, True)


def test_a_merged_folder_is_whole_and_says_what_it_came_from(chain: Done, desk: Path) -> None:
    merged = {file.name for file in (desk / "out" / "dpo-merged").iterdir()}
    assert {file.name for file in (desk / "tiny").iterdir()} <= merged
    assert {"sft-result.json", "dpo-result.json"} <= merged
    assert "adapter_config.json" not in merged


def test_a_second_run_does_nothing(chain: Done) -> None:
    assert chain.stdout.count("step 1/8") == 2  # sft and dpo, though sft was asked twice


def test_killed_and_torn_it_ends_where_it_would_have(chain: Done, desk: Path, tmp_path: Path) -> None:
    """A real kill -9 between two checkpoints, and a newer checkpoint that was being written."""
    for name in ("tiny", "data"):
        (tmp_path / name).symlink_to(desk / name)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    command = [sys.executable, "-m", "server.finetune", "sft", str(tmp_path / "recipe.toml")]
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("step 4/8"):
                running.kill()
    folder = tmp_path / "out" / "sft"
    torn = folder / "checkpoint-6"
    shutil.rmtree(torn, ignore_errors=True)
    shutil.copytree(folder / "checkpoint-3", torn)  # with a mark that says it is whole
    optimizer = torn / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
    assert not (folder / "adapter").exists()
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("step") and "held" not in line]
    assert "goes on from checkpoint-3" in done.stdout
    assert steps == [f"{step}/8" for step in range(4, 9)]
    weights = "adapter/adapter_model.safetensors"
    assert (folder / weights).read_bytes() == (desk / "out" / "sft" / weights).read_bytes()
