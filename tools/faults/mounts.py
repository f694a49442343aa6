"""File systems of our own in image files: made, mounted, and gone again when the block is left. Needs root."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

XFS_MIB = 1024  # sparse; mkfs.xfs takes no less than 300
_MAKE = {"ext4": ("-e", "remount-ro"), "xfs": ()}  # ext4 as distributions mount it
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_PACKAGES = {"mkfs.xfs": "xfsprogs", "mkfs.ext4": "e2fsprogs", "mount": "mount"}


class RigError(Exception):
    """The rig itself failed: a row that cannot go on, and no verdict on the product."""


@functools.cache
def missing() -> str:
    """Why no image can be mounted here; "" when one was."""
    if os.geteuid() != 0:
        return "mounting needs root"
    for program, package in _PACKAGES.items():
        if shutil.which(program, path=_PATH) is None:
            return f"{program} is not installed (package {package})"
    try:
        with tempfile.TemporaryDirectory() as folder, mounted_new(Path(folder) / "try", "xfs", XFS_MIB):
            return ""
    except RigError as exc:
        return f"no image can be mounted here: {exc}"


def run(*command: str | Path) -> str:
    """Its output. Raises RigError with the command's own words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": _PATH})
    if done.returncode:
        raise RigError(f"{' '.join(map(str, command))}: {done.stderr.strip() or f'ended with {done.returncode}'}")
    return done.stdout


def make(image: Path, kind: str, mib: int) -> None:
    """An empty file system of that kind ("ext4", "xfs"), as a sparse file."""
    with image.open("wb") as file:
        file.truncate(mib << 20)
    run(f"mkfs.{kind}", "-q", *_MAKE[kind], image)


@contextlib.contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """The folder `at`, made for it. Who still runs in it has to be ended before the block is left."""
    at.mkdir()
    run("mount", "-o", "loop", image, at)
    try:
        yield at
    finally:
        try:
            run("umount", at)
        except RigError:  # somebody still has a file open: away with it, and say so
            run("umount", "--lazy", at)
            raise
        at.rmdir()


@contextlib.contextmanager
def mounted_new(at: Path, kind: str, mib: int) -> Iterator[Path]:
    """A new one, its image beside the folder."""
    image = at.with_name(at.name + ".img")
    make(image, kind, mib)
    with mounted(image, at) as folder:
        yield folder


def mount_again(image: Path, at: Path) -> None:
    """Take an ext4 away from under everybody, check it and mount it at the same place, on another device."""
    run("umount", "--lazy", at)
    with contextlib.suppress(RigError):  # 1: errors were corrected
        run("e2fsck", "-f", "-y", image)
    fresh = run("losetup", "--find", "--show", image).strip()
    try:
        run("mount", fresh, at)
    finally:
        run("losetup", "--detach", fresh)  # as soon as it is unmounted


def devices(image: Path) -> list[str]:
    """The loop devices of an image: ["loop3"]."""
    return [
        Path(name).name for name in run("losetup", "--associated", image, "--output", "NAME", "--noheadings").split()
    ]
