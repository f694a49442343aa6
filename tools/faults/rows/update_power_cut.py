"""The power goes while a box updates itself: all that it keeps (slots, their state, TUF's, downloads, history)."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path

from edge.errors import EdgeError
from edge.updating import UpdateStatus
from tools.faults import mounts, updates
from tools.faults.box import LostError, verdict
from tools.faults.mounts import XFS_MIB, make, mounted, mounted_new
from tools.faults.updates import FIRST, Life, Source, number
from tools.ota.desk import Desk

TITLE = "power cut on a box that updates itself"
PROMISE = (
    "a whole release that was signed and published is started, none that was refused and none older than the last that "
    "was said to hold; what was said to be written is; memory, TUF's metadata and the history are whole; one in ten "
    "goes on to the newest release"
)
TIMES = 200

DISK_MIB = 96
PAUSE_S = 0.8  # the longest between two cuts, or from a change of state to the cut ...
AFTER_S, CHANGES_WITHIN_S = 0.12, 3.0  # ... after one
BAD = 0.15  # of all releases
GOES_ON = 0.1  # of all copies
CARELESS = "import os\n\nos.fsync = os.fdatasync = lambda _number: None\n"

missing = updates.missing


def play(folder: Path, times: int, dice: random.Random) -> Generator[str, None, str]:
    cutter = yield from _play(folder, times, dice)
    fallen = ", ".join(f"{count} {state}" for state, count in cutter.fallen.most_common())
    return f"fallen in: {fallen}; {cutter.went_on} went on to the newest release"


def control(folder: Path, times: int, dice: random.Random) -> Generator[str, None, None]:
    """No fsync in the updater, and none in the slot program."""
    yield from _play(folder, times, dice, careless=True)


def _play(folder: Path, times: int, dice: random.Random, careless: bool = False) -> Generator[str, None, Cutter]:
    with mounted_new(folder / "outer", "xfs", XFS_MIB) as outer:
        disk = outer / "disk.img"
        make(disk, "ext4", DISK_MIB)
        (folder / "box").mkdir()
        with mounted(disk, folder / "box/var"), Source(folder) as source:
            life = Life(source, folder / "box")
            if careless:
                take_care_out(life.box, folder / "careless")
            with life:
                life.arrive(FIRST)
                cutter = Cutter(source, life, disk, folder / "copy", dice, goes_on=0.0 if careless else GOES_ON)
                for _ in range(times):
                    yield verdict(cutter.round)
                return cutter


def take_care_out(box: Desk, folder: Path) -> None:
    program = box.system / "slot.py"
    program.write_text(program.read_text().replace("os.fsync(", "bool("))
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CARELESS)
    box.environment["PYTHONPATH"] = str(folder)


class Cutter:
    def __init__(self, source: Source, life: Life, disk: Path, at: Path, dice: random.Random, goes_on: float) -> None:
        self._source, self._life, self._disk, self._at = source, life, disk, at
        self._dice, self._goes_on = dice, goes_on
        self.fallen: Counter[str] = Counter()
        self.went_on = 0
        self._version, self._since_s = FIRST, time.monotonic()
        self._held, self._offered, self._refused = FIRST, FIRST, frozenset[str]()  # what the updater said

    def round(self) -> None:
        self._next()
        self._wait()
        promised = self._held, self._offered, self._refused
        copy = self._disk.with_name("copy.img")
        self.fallen[self._life.state()] += 1
        mounts.run("cp", "--reflink=always", self._disk, copy)
        self._at.mkdir()
        try:
            with mounted(copy, self._at / "var"):
                self._look(*promised)
        except LostError:
            copy.rename(copy.with_name("lost.img"))
            raise
        finally:
            shutil.rmtree(self._at)

    def _next(self) -> None:
        """Another release, when the one before has arrived."""
        life, dice = self._life, self._dice
        if life.arrived(self._version):
            self._see(life.now)
            bad = dice.random() < BAD
            if bad:
                life.fails[self._source.next_version] = "model gave other outputs than it should"
            self._version, self._since_s = self._source.publish(), time.monotonic()
            life.want(self._version)
        elif time.monotonic() > self._since_s + 2 * updates.ARRIVES_WITHIN_S:
            raise LostError(f"{self._version} does not arrive: {life.told()}")

    def _wait(self) -> None:
        """For a moment, or until just after the state has changed."""
        dice, state = self._dice, self._life.state()
        if dice.random() < 0.5:
            self._see_until(time.monotonic() + dice.uniform(0, PAUSE_S))
            return
        ends_s = time.monotonic() + CHANGES_WITHIN_S
        while self._life.state() == state and time.monotonic() < ends_s:
            self._see(self._life.now)
            time.sleep(0.001)
        self._see_until(time.monotonic() + dice.uniform(0, AFTER_S))

    def _see_until(self, ends_s: float) -> None:
        self._see(self._life.now)
        while time.monotonic() < ends_s:
            time.sleep(0.005)
            self._see(self._life.now)

    def _see(self, now: UpdateStatus | None) -> None:
        if now is None:
            return
        if now.state == "idle":
            self._held = now.version
        if now.offer is not None:
            self._offered = now.offer.version
        self._refused = frozenset(now.refused)

    def _look(self, held: str, offered: str, refused: frozenset[str]) -> None:
        """At the copy, as a machine that starts."""
        source, version, goes_on = self._source, self._version, self._dice.random() < self._goes_on
        box = updates.new_box(source, self._at)
        try:
            self._check(box, held, offered, refused)
        except (ValueError, OSError, EdgeError) as exc:
            raise LostError(f"{type(exc).__name__}: {exc}") from exc
        finally:
            box.close()
            updates.wait_for_loops(box)
        if goes_on and not (box.boot_state()["trial"] and box.boot_state()["left"] == 0):  # our look was a start, too
            self._carry_on(version)

    def _check(self, box: Desk, held: str, offered: str, refused: frozenset[str]) -> None:
        if wrong := updates.installed(box, self._source):
            raise LostError(wrong)
        if box.slot("up"):
            raise LostError("no release can be started")
        if wrong := updates.whole(box, self._source, box.booted):
            raise LostError(wrong)
        if box.version in refused:
            raise LostError(f"{box.version} is started, and was refused")
        if number(box.version) < number(held):
            raise LostError(f"{box.version} is started, and {held} was said to hold")
        wanting = set(refused) - {one.version for one in updates.memory(box).refused}
        if wanting:
            raise LostError(f"it was forgotten that {', '.join(sorted(wanting))} was refused")
        updates.remembered_after_a_start(box, self._source, offered)

    def _carry_on(self, version: str) -> None:
        with Life(self._source, self._at) as life:
            life.fails = self._life.fails
            life.want(version)
            life.arrive(version)
        self.went_on += 1
