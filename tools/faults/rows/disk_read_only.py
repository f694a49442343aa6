"""The file system meets an error and turns itself read-only (ext4, `errors=remount-ro`) while everything writes; it is
checked and mounted again under the running processes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

from tools.faults import box, mounts
from tools.faults.box import LostError

TITLE = "data partition turns read-only"
PROMISE = (
    "nothing committed is lost, who cannot write says so and works on, nobody keeps the old disk, "
    "and all that waited is committed once it can be written again"
)
TIMES = 50

DISK_MIB = 160
LET_GO_WITHIN_S = 10.0
MUST_COMPLAIN = ("core", "spool", "console", "engines")  # uplink may find nothing to delete

missing = mounts.missing


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    return box.rounds(_round, folder, times, dice)


def _round(home: Path, dice: random.Random) -> None:
    image, disk = home / "disk.img", home / "disk"
    mounts.make(image, "ext4", DISK_MIB)
    with mounts.mounted(image, disk), box.running(disk / "data", home, dice) as running:
        running.ask("work", dice.randint(1, 20))
        (device,) = mounts.devices(image)
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")
        said = running.ask("work", dice.randint(3, 10))
        if silent := [name for name in MUST_COMPLAIN if not said[name]]:
            raise LostError(f"the disk is read-only and {silent[0]} says nothing")
        mounts.mount_again(image, disk)
        running.settle()
        running.ask("work", 3)
        _wait_until_let_go(image)
        running.end()


def _wait_until_let_go(image: Path) -> None:
    """LostError when a process still has a file open on the disk that is no more."""
    deadline = time.monotonic() + LET_GO_WITHIN_S
    while len(mounts.devices(image)) > 1:
        if time.monotonic() > deadline:
            raise LostError("somebody still has a file open on the disk that was taken away")
        time.sleep(0.05)
