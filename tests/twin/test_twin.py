"""The real thing, where the twin has been built: the box starts before the tower; its power goes in an update."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.twin import image, needs

ROOT = Path(__file__).parents[2]


def play(name: str, folder: Path, within_s: float, *more: str) -> str:
    if platform.machine() != "x86_64" or not shutil.which("qemu-system-x86_64"):
        pytest.skip("the twin needs qemu-system-x86_64 on an x86-64 machine: tools/twin.sh build")
    if image.find() is None:
        pytest.skip("the twin is not built for this checkout: tools/twin.sh build (once, as root, 10 minutes)")
    command = [sys.executable, "-m", "tools.twin", "run", name, "--results", str(folder), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=within_s)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 held" in done.stdout
    return done.stdout


@pytest.mark.timeout(600)
def test_a_box_that_starts_without_a_signal_is_live_when_it_comes(tmp_path: Path) -> None:
    play("start_without_signal", tmp_path, 590)
    assert (tmp_path / "start_without_signal" / "messages.jsonl").stat().st_size > 0


@pytest.mark.timeout(1800)
def test_a_box_whose_power_goes_in_an_update_comes_up_and_gets_to_the_newest(tmp_path: Path) -> None:
    missing = [name for name in needs.UPDATES if not needs.there(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    said = play("ota_killed", tmp_path, 1790, "--times", "1", "--seed", "3")
    assert "cuts 1" in said
    assert (tmp_path / "ota_killed" / "console-2.txt").exists()
