"""A folder replaced in one step: whoever looks, also after a kill, finds the old one whole or the new one whole."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEW, OLD = ".new", ".old"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder` to write into; it takes its place when the block ends, unless it raised."""
    new, old = (folder.with_name(f".{folder.name}{suffix}") for suffix in (NEW, OLD))
    _recover(folder, old)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        for path in (*new.rglob("*"), new):
            _flush(path)
        _put(new, folder, old)
        _flush(folder.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)


def _recover(folder: Path, old: Path) -> None:
    """A kill between the two renames of a file system that cannot exchange left the old folder under its other name."""
    if old.exists() and not folder.exists():
        old.rename(folder)


def _put(new: Path, folder: Path, old: Path) -> None:
    if not folder.exists():
        new.rename(folder)
    elif not _exchanged(new, folder):
        folder.rename(old)
        new.rename(folder)


def _exchanged(one: Path, other: Path) -> bool:
    """Two names change places in one step, where kernel and file system can."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    failed: int = renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
    return not failed


def _flush(path: Path) -> None:
    """Contents to the disk before the name says that they are there."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
