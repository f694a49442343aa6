"""The disk is filled to its last block while everything writes, and emptied again."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tools.faults import box, mounts
from tools.faults.box import LostError

TITLE = "disk full"
PROMISE = (
    "nothing committed is lost, who cannot write says so and works on, and all that waited is committed afterwards"
)
TIMES = 50

DISK_MIB = 100
ROOM_FOR_AN_OUTBOX = (300_000, 900_000)  # bytes: enough to be made, and not to reserve its room
MUST_COMPLAIN = ("spool", "console", "engines")  # core and uplink need not: their room is reserved

missing = mounts.missing


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    with mounts.mounted_new(folder / "disk", "ext4", DISK_MIB) as disk:
        for _ in range(times):
            yield box.verdict(_round, disk, folder, dice)


def _round(disk: Path, home: Path, dice: random.Random) -> None:
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    shutil.rmtree(disk / "data", ignore_errors=True)
    (disk / "data").mkdir()
    mounts.run("sync", "-f", disk)  # what was removed is free again
    if dice.random() < 0.5:  # from the start on
        fill(filler, leave=dice.randint(*ROOM_FOR_AN_OUTBOX))
    with box.running(disk / "data", home, dice) as running:
        running.ask("work", dice.randint(1, 20))
        fill(filler, leave=0)
        said = running.ask("work", dice.randint(5, 30))
        if silent := [name for name in MUST_COMPLAIN if not said[name]]:
            raise LostError(f"the disk is full and {silent[0]} says nothing")
        filler.unlink()
        running.settle()
        running.ask("work", 3)
        running.end()


def fill(filler: Path, leave: int) -> None:
    """Take the disk to its last block, as root may, and give so many bytes back."""
    with filler.open("ab") as file:
        piece = 1 << 24
        while piece >= 4096:
            try:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
            except OSError as exc:
                if exc.errno != errno.ENOSPC:
                    raise
                piece //= 2
        file.truncate(os.fstat(file.fileno()).st_size - leave)
    mounts.run("sync", "-f", filler.parent)  # what was given back is free
