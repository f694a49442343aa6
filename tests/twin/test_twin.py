"""One scenario on the real thing, where the twin has been built: the box starts before the tower does."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.twin import image

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_a_box_that_starts_without_a_signal_is_live_when_it_comes(tmp_path: Path) -> None:
    if platform.machine() != "x86_64" or not shutil.which("qemu-system-x86_64"):
        pytest.skip("the twin needs qemu-system-x86_64 on an x86-64 machine: tools/twin.sh build")
    if image.find() is None:
        pytest.skip("the twin is not built for this checkout: tools/twin.sh build (once, as root, 10 minutes)")
    command = [sys.executable, "-m", "tools.twin", "run", "start_without_signal", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=590)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 held" in done.stdout
    assert (tmp_path / "start_without_signal" / "messages.jsonl").stat().st_size > 0
