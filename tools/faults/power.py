"""The power goes: a copy of the disk's image in one instant, mounted again and looked at with the product's own code.

    image file on XFS (reflink) ── loop ── ext4 ── writers ── promises, one line each, to a file outside
            │
            └─ cp --reflink=always, at a random moment ── loop ── ext4 replays its journal ── check

What lay only in the page cache of the inner file system is not in the copy, as it would not be on a disk. A line that
was said before the copy began is a promise that has to hold in it.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.faults import ROOT, parts, promises
from tools.faults.mounts import XFS_MIB, RigError, make, mounted, mounted_new, run
from tools.faults.promises import Promises

DISK_MIB = 160
SPEAKS_WITHIN_S = 30.0
PAUSE_S = 0.25  # the longest between two cuts
CUTS = (1, 12)  # before the writers are killed and begin anew


def play(
    names: tuple[str, ...], folder: Path, times: int, dice: random.Random, careless: bool = False
) -> Iterator[str]:
    """One cut a round, under these parts. They are killed and begin anew now and then, in the same folder or in an
    empty one."""
    with mounted_new(folder / "outer", "xfs", XFS_MIB) as outer:
        disk = outer / "disk.img"
        make(disk, "ext4", DISK_MIB)
        with mounted(disk, folder / "inner") as inner:
            done = 0
            while done < times:
                log = folder / "promises"
                if dice.random() < 0.5:
                    shutil.rmtree(inner / "data", ignore_errors=True)
                    log.unlink(missing_ok=True)
                (inner / "data").mkdir(exist_ok=True)
                log.touch()
                run("sync", "-f", inner)  # what an earlier life left is on the disk, and its folder
                with _writing(names, inner / "data", log, dice, careless) as look:
                    for _ in range(min(dice.randint(*CUTS), times - done)):
                        time.sleep(dice.uniform(0, PAUSE_S))
                        look()
                        yield _cut(names, disk, folder / "copy", log)
                        done += 1


def _cut(names: tuple[str, ...], disk: Path, at: Path, log: Path) -> str:
    copy = disk.with_name("copy.img")
    before = promises.read(log)
    run("cp", "--reflink=always", disk, copy)
    made = Promises(before, promises.read(log))
    with mounted(copy, at):
        wrong = parts.check(names, at / "data", made)
    if wrong:
        copy.rename(copy.with_name("lost.img"))  # the newest of them stays in the row's folder
    return wrong


@contextlib.contextmanager
def _writing(
    names: tuple[str, ...], data: Path, log: Path, dice: random.Random, careless: bool
) -> Iterator[Callable[[], None]]:
    """The parts at work, mostly from their first word on, else from their first instant. What is yielded raises
    RigError when one of them has ended by itself."""
    errors = log.with_name("errors")
    processes = []
    size = log.stat().st_size
    try:
        for name in names:
            command = [sys.executable, "-m", "tools.faults.writer", name, str(data), str(dice.randrange(1 << 30))]
            command += ["--careless"] if careless else []
            with log.open("ab") as out, errors.open("ab") as err:
                processes.append(subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err))

        def look() -> None:
            if any(process.poll() is not None for process in processes):
                raise RigError(f"a writer ended by itself: {errors.read_text(errors='replace')[-500:]}")

        if dice.random() < 0.8:
            deadline = time.monotonic() + SPEAKS_WITHIN_S
            while log.stat().st_size == size:
                look()
                if time.monotonic() > deadline:
                    raise RigError(f"no writer said anything within {SPEAKS_WITHIN_S:.0f} s")
                time.sleep(0.01)
        yield look
    finally:
        for process in processes:
            process.kill()
            process.wait()
