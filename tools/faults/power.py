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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.faults import ROOT
from tools.faults.mounts import XFS_MIB, RigError, make, mounted, mounted_new, run

DISK_MIB = 160
SPEAKS_WITHIN_S = 30.0
PAUSE_S = 0.25  # the longest between two cuts
CUTS = (1, 12)  # before the writers are killed and begin anew


class Promises(NamedTuple):
    """What the writers had said when the copy began, and when it was made: lines, without their ends."""

    before: list[str]
    after: list[str]

    def said(self, word: str) -> list[list[str]]:
        """What was promised before: the rest of all lines that begin with `word`."""
        return _about(word, self.before)

    def perhaps(self, word: str) -> list[list[str]]:
        """What may have happened: it was said before the copy was made."""
        return _about(word, self.after)


def _about(word: str, lines: Sequence[str]) -> list[list[str]]:
    return [rest for first, *rest in map(str.split, lines) if first == word]


class Scene(NamedTuple):
    """`writers`: functions `(folder, dice) -> None`, each run for ever in a process of its own; what they print is
    promised. `check(folder, promises)` looks at a copy of the folder and says what is wrong, or ""."""

    writers: tuple[Callable[[Path, random.Random], None], ...]
    check: Callable[[Path, Promises], str]


def play(scene: Scene, folder: Path, times: int, dice: random.Random, careless: bool = False) -> Iterator[str]:
    """One cut a round. The writers are killed and begin anew now and then, in the same folder or in an empty one."""
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
                with writing(scene, inner / "data", log, dice, careless) as look:
                    for _ in range(min(dice.randint(*CUTS), times - done)):
                        time.sleep(dice.uniform(0, PAUSE_S))
                        look()
                        yield _cut(scene, disk, folder / "copy", log)
                        done += 1


def _cut(scene: Scene, disk: Path, at: Path, log: Path) -> str:
    copy = disk.with_name("copy.img")
    before = _lines(log)
    run("cp", "--reflink=always", disk, copy)
    promises = Promises(before, _lines(log))
    with mounted(copy, at):
        try:
            return scene.check(at / "data", promises)
        except Exception as exc:  # the product's own, on a disk that only lost its power
            return f"{type(exc).__name__}: {exc}"


def _lines(log: Path) -> list[str]:
    """Whole ones."""
    return log.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()


@contextlib.contextmanager
def writing(scene: Scene, data: Path, log: Path, dice: random.Random, careless: bool) -> Iterator[Callable[[], None]]:
    """The writers at work, mostly from their first word on, else from their first instant. What is yielded raises
    RigError when one of them has ended by itself."""
    errors = log.with_name("errors")
    processes = []
    size = log.stat().st_size
    try:
        for writer in scene.writers:
            command = [sys.executable, "-m", "tools.faults.writer", f"{writer.__module__}:{writer.__name__}", str(data)]
            command += [str(dice.randrange(1 << 30)), *(["--careless"] if careless else [])]
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
