"""A checkout in miniature, with the wheel that its build needs, for tools/release: `build` runs as it does for the real
one, in seconds and without a network.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

from tests.support import models
from tools.release import __main__ as release
from tools.release import build

HARDWARE = "endoedge-x86_64-debian12"
TOOLS = ("rauc", "mksquashfs", "unsquashfs", "openssl", "git")
_PROJECT = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "endoedge"
version = "0.1.0"
dependencies = ["typing_extensions"]
[project.optional-dependencies]
metrics = []
console = []
update = []
[project.scripts]
endoedge = "edge:main"
[tool.setuptools.packages.find]
include = ["edge*", "calibration*"]
"""


def missing() -> str:
    gone = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(gone)}" if gone else ""


def checkout(folder: Path) -> Path:
    """A git repository with one commit."""
    for name in ("edge", "calibration"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f'"""{name}"""\n\n\ndef main() -> None:\n    print("{name} runs")\n')
    (folder / "pyproject.toml").write_text(_PROJECT)
    versions = {name: importlib.metadata.version(name) for name in ("setuptools", "typing_extensions")}
    (folder / "constraints.txt").write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
    for name in ("README.md", "LICENSE"):
        (folder / name).write_text(f"{name}\n")
    models.build(folder / "models" / models.NAME)
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "colonoscopy.toml").write_text("# how it behaves\n")
    git(folder, "init", "-q")
    commit(folder, "2030-01-02T03:04:05Z")
    return folder


def commit(folder: Path, at: str) -> None:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "-m", "x", "--date", at, at=at)


def git(folder: Path, *arguments: str, at: str = "") -> None:
    environment = os.environ | ({"GIT_COMMITTER_DATE": at} if at else {})
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, env=environment, capture_output=True)


def wheels(folder: Path) -> Path:
    """What the miniature needs, packed again from what is installed here."""
    folder.mkdir(parents=True)
    for name in ("setuptools", "typing_extensions"):
        found = importlib.metadata.distribution(name)
        with zipfile.ZipFile(folder / f"{name}-{found.version}-py3-none-any.whl", "w") as wheel:
            for file in found.files or ():
                if not str(file).startswith("..") and "__pycache__" not in str(file) and file.name != "direct_url.json":
                    wheel.write(str(file.locate()), str(file))
    return folder


def built(root: Path, to: Path, *arguments: str, version: str = "1.2.0") -> Path:
    """As `tools/release.sh build` makes it of that checkout."""
    parser = argparse.ArgumentParser()
    build.arguments(parser)
    words = ["--version", version, "--hardware", HARDWARE, "--to", str(to), *arguments]
    asked = parser.parse_args(words)
    build.check(asked)
    return build.build(asked, root)


def run(*arguments: object) -> int:
    """tools/release.sh"""
    return release.main([str(argument) for argument in arguments])
