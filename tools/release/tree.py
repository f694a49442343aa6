"""What goes into an image: from the checkout's tracked files, and how two trees differ."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge.errors import UpdateError

PROGRAM = ("edge", "calibration", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")
DATA = ("models", "pipelines")
_TOOLS = ("tools/release", "tools/sbom.py")  # these decide what comes out, too


def git(root: Path, *arguments: str) -> str:
    """Raises UpdateError: no checkout."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as exc:
        raise UpdateError(f"git: {exc.strerror}: install the package git") from exc
    if done.returncode:
        raise UpdateError(f"git {arguments[0]}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def changed(root: Path) -> list[str]:
    """Of what a release is made of, what is not committed."""
    lines = git(root, "status", "--porcelain", "--", *PROGRAM, *DATA, *_TOOLS).splitlines()
    return [line[3:] for line in lines]


def copy(root: Path, names: Sequence[str], to: Path) -> None:
    """Tracked files, as they lie there."""
    for name in git(root, "ls-files", "-z", "--", *names).split("\0"):
        if name and (root / name).exists():
            target = to / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target)
            target.chmod(0o755 if os.access(root / name, os.X_OK) else 0o644)


def copy_all(source: Path, to: Path) -> None:
    """A folder that is in no checkout, without what hides or was compiled."""
    if not source.is_dir():
        raise UpdateError(f"{source}: expected a folder")
    shutil.copytree(source, to, ignore=shutil.ignore_patterns(".*", "__pycache__"), copy_function=shutil.copyfile)


def replace(at: Path, coming: Path) -> None:
    shutil.rmtree(at)
    shutil.copytree(coming, at, copy_function=shutil.copyfile)


def settle(folder: Path) -> None:
    """Modes that do not come from this machine's umask."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_symlink():
            continue
        executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if executable else 0o644)


def leaks(folder: Path, words: bytes) -> list[str]:
    """Files that name the folder in which they were made."""
    return [str(path.relative_to(folder)) for path in _files(folder) if words in _content(path)]


def digest(folder: Path) -> str:
    """Of all names and contents."""
    lines = "".join(f"{name}\0{sha256}\n" for name, sha256 in listing(folder).items())
    return hashlib.sha256(lines.encode()).hexdigest()


def listing(folder: Path) -> dict[str, str]:
    """By their names in the folder, sorted: sha256 of each file, and where each link leads."""
    return {str(path.relative_to(folder)): hashlib.sha256(_content(path)).hexdigest() for path in _files(folder)}


def differences(old: Path, new: Path, apart: Sequence[str] = ()) -> list[str]:
    """Files that are not the same, but those in `apart` (names and folders)."""
    before, after = listing(old), listing(new)
    found = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [name for name in found if not any(name == one or name.startswith(f"{one}/") for one in apart)]


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def _content(path: Path) -> bytes:
    return f"-> {path.readlink()}".encode() if path.is_symlink() else path.read_bytes()
