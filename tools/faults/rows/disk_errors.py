"""Calls fail at random while everything writes: EIO, ENOSPC, and writes that are cut short. By libfiu."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

from tools.faults import box

TITLE = "random I/O errors"
PROMISE = "nothing committed is lost, every process lives, and all that waited is committed afterwards"
TIMES = 100

LIBRARY = "fiu_posix_preload.so"
FOLDERS = ("/usr/lib/fiu", "/usr/lib/x86_64-linux-gnu/fiu", "/usr/lib/aarch64-linux-gnu/fiu", "/usr/local/lib/fiu")
POINTS = {
    "oc/open": (errno.EIO, errno.ENOSPC),
    "rw/read": (errno.EIO,),
    "rw/pread": (errno.EIO,),
    "rw/write": (errno.EIO, errno.ENOSPC),
    "rw/write/reduce": (0,),
    "rw/pwrite": (errno.EIO, errno.ENOSPC),
    "rw/pwrite/reduce": (0,),
    "rw/ftruncate": (errno.EIO,),
    "sync/fsync": (errno.EIO, errno.ENOSPC),
    "sync/fdatasync": (errno.EIO,),
    "dir/rename": (errno.EIO, errno.ENOSPC),
    "dir/unlink": (errno.EIO,),
    "dir/opendir": (errno.EIO,),
}
PROBABILITIES = (0.01, 0.05, 0.2, 0.6)


def missing() -> str:
    return "" if _library() else "libfiu is not installed (package fiu-utils)"


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    return box.rounds(_round, folder, times, dice)


def _round(home: Path, dice: random.Random) -> None:
    with box.running(home / "data", home, dice, {"LD_PRELOAD": str(_library())}) as running:
        running.ask("work", dice.randint(1, 5))
        for point in dice.sample(sorted(POINTS), dice.randint(1, 4)):
            running.ask("fail", f"posix/io/{point}", dice.choice(POINTS[point]), dice.choice(PROBABILITIES))
        running.ask("work", dice.randint(5, 30))
        running.ask("heal")
        running.settle()
        running.ask("work", 3)
        running.end()


def _library() -> Path | None:
    found = (Path(folder) / LIBRARY for folder in (*FOLDERS, *os.environ.get("LD_LIBRARY_PATH", "").split(":")))
    return next((path for path in found if path.exists()), None)
