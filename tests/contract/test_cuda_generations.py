"""edge/memory/gpu.py over the bindings of each CUDA generation: its own tests, in a process with that wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import wheels

GENERATIONS = {"12": "cuda-bindings==12.*", "13": "cuda-bindings==13.*"}  # JetPack 6, JetPack 7
TESTS = Path(__file__).parents[1] / "unit" / "test_gpu.py"


@pytest.mark.parametrize("generation", list(GENERATIONS))
def test_the_driver_is_used_alike(generation: str) -> None:
    folders = [str(wheels.unpacked(name)) for name in (GENERATIONS[generation], "cuda-pathfinder")]
    ask = f"import cuda.bindings; assert cuda.bindings.__version__.startswith('{generation}.')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    subprocess.run([sys.executable, "-c", ask], env=environment, check=True, timeout=60)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(TESTS)]
    done = subprocess.run(
        command, env=environment, cwd=TESTS.parents[2], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout
