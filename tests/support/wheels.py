"""Vendors' Python packages, fetched by name when a test needs them, kept in the user's cache.

They are looked at, never shipped. Without a network (and nothing kept from an earlier run) the test is skipped.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

FETCH_WITHIN_S = 100


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "endoedge-tests" / f"cp{sys.version_info.major}{sys.version_info.minor}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def unpacked(requirement: str) -> Path:
    """A folder with the content of the newest wheel of `requirement` ("name==1.2.*") for the running Python."""
    target = cache() / re.sub(r"[^A-Za-z0-9.]+", "-", requirement).strip("-.")
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-q", "-d", scratch]
        try:
            done = subprocess.run(
                [*command, requirement], capture_output=True, text=True, timeout=FETCH_WITHIN_S, check=False
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"{requirement} was not fetched within {FETCH_WITHIN_S} s")
        wheel = next(Path(scratch).glob("*.whl"), None)
        if done.returncode or wheel is None:
            pytest.skip(f"{requirement} cannot be fetched: {(done.stderr.strip().splitlines() or ['no wheel'])[-1]}")
        content = Path(scratch) / "content"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(content)
        keep(content, target)
    return target


def keep(made: Path, target: Path) -> None:
    """Move a folder into the cache, unless another run was faster."""
    try:
        made.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def importable(requirement: str, module: str, *needs: str) -> None:
    """Make `module` importable in this process: as it is installed, or else from the wheel (and those it `needs`)."""
    try:
        if importlib.util.find_spec(module) is not None:
            return
    except ModuleNotFoundError:
        pass
    sys.path.extend(str(unpacked(each)) for each in (requirement, *needs))
    importlib.invalidate_caches()
