"""A tiny random Qwen3-VL, samples of the software colon, and the whole recipe run over them once."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import learnt

ROOT = Path(__file__).parents[2]
RECIPE = """
checkpoint = "tiny"
data = "data"
out = "out"
device = "cpu"
precision = "fp32"
[lora]
rank = 8
[sft]
epochs = 2
accumulate = 1
save_every = 3
learning_rate = 0.01
[dpo]
epochs = 2
accumulate = 1
save_every = 3
learning_rate = 0.005
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in ("trl", "peft", "accelerate", "datasets") if importlib.util.find_spec(name) is None]
    for item in items:
        if missing and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f"needs the extra `finetune`: no {', '.join(missing)}"))


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny`, `data` and `recipe.toml`."""
    folder = tmp_path_factory.mktemp("finetune")
    command = [sys.executable, "-m", "server.finetune.tiny", str(folder / "tiny")]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    learnt.exported(folder / "data")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="session")
def chain(desk: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.support.finetune_chain", str(desk / "recipe.toml")]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
