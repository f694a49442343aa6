"""The checkout as a disk: what git tracks and what it does not ignore, so that what is tried is what is there."""

from __future__ import annotations

import compileall
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from edge.errors import EdgeError
from tools.twin import needs
from tools.twin.image import PYTHON, ROOT

LABEL = "checkout"
_LEFT_OUT = ("calibration/", "docs/", "tests/", "server/")  # a box has none of it


def write_disk(disk: Path, beside: Mapping[str, Path] = {}) -> None:
    """An ext4 image, read-only for the guest. `beside`: what else is in its folder `twin`, by name. EdgeError when git
    or mke2fs will not."""
    tree = disk.with_suffix(".tree")
    for name in _files():
        if (ROOT / name).is_file():  # deleted, but not committed yet
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    (tree / "twin").mkdir()
    for name, file in beside.items():
        shutil.copy2(file, tree / "twin" / name)
    if f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON:  # compiling takes the guest a minute
        compileall.compile_dir(tree, quiet=2, invalidation_mode=None)
    mib = sum(path.stat().st_size for path in tree.rglob("*")) // 2**20
    command = [needs.program("mke2fs"), "-q", "-t", "ext4", "-O", "^has_journal", "-L", LABEL, "-d", str(tree)]
    made = subprocess.run([*command, str(disk), f"{mib * 5 // 4 + 16}M"], capture_output=True, text=True)
    shutil.rmtree(tree)
    if made.returncode:
        raise EdgeError(f"mke2fs could not make the checkout's disk: {made.stderr.strip()}")


def _files() -> list[str]:
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        raise EdgeError(f"{ROOT} is no git checkout: {listed.stderr.strip()}")
    return [name for name in listed.stdout.split("\0") if name and not name.startswith(_LEFT_OUT)]
