"""The files of boards, written by hand from public documentation, one text file a board in `sysfs/`.

A line is `PATH = CONTENT`, with `\\n` and `\\0` for what they stand for. `!EAGAIN` is a file that answers EAGAIN, as a
sensor does whose part of the chip is switched off: a pipe that somebody holds open and nobody writes to.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent / "sysfs"
BOARDS = tuple(sorted(file.stem for file in FOLDER.glob("*.txt")))


@contextlib.contextmanager
def grown(board: str, root: Path) -> Iterator[Path]:
    """The board's files under `root`, as long as the context lasts."""
    held: list[int] = []
    for line in (FOLDER / f"{board}.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") and line.strip():
            name, _, content = line.partition(" = ")
            held += put(root, name, content)
    try:
        yield root
    finally:
        for file in held:
            os.close(file)


def put(root: Path, name: str, content: str) -> list[int]:
    """One file, new or again; the descriptors that hold it up."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if content == "!EAGAIN":
        os.mkfifo(path)
        return [os.open(path, os.O_RDWR | os.O_NONBLOCK)]
    path.write_bytes(content.replace("\\n", "\n").replace("\\0", "\0").encode() + b"\n")
    return []
