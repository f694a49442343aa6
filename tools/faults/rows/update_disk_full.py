"""The disk is filled to its last block while a box updates itself, and emptied again."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path

from tools.faults import mounts, updates
from tools.faults.box import LostError, verdict
from tools.faults.rows.disk_full import fill
from tools.faults.updates import Life, Source

TITLE = "the disk is full while an update is fetched, written, switched to, tried"
PROMISE = "the updater says so and lives, what runs goes on; with room again the release runs and holds"
TIMES = 20

DISK_MIB = 40
STATES = ("idle", "offered", "downloading", "fetched", "installing", "installed", "switching", "trying")
AFTER_S = 0.4
SAYS_WITHIN_S = 40.0
FULL_S = (0.5, 4.0)
WORDS = ("full", "No space", "no space", "MiB are free", "may grow to", "cannot be written")

missing = updates.missing


def play(folder: Path, times: int, dice: random.Random) -> Generator[str, None, str]:
    fallen: Counter[str] = Counter()
    (folder / "box").mkdir()
    with mounts.mounted_new(folder / "box/var", "ext4", DISK_MIB) as disk, updates.living(folder) as (source, life):
        life.arrive(updates.FIRST)
        states: list[str] = []
        for _ in range(times):
            states = states or dice.sample(STATES, len(STATES))
            yield verdict(_round, source, life, disk / "filler", states.pop(), dice, fallen)
    return "fallen in: " + ", ".join(f"{count} {state}" for state, count in fallen.most_common())


def _round(source: Source, life: Life, filler: Path, state: str, dice: random.Random, fallen: Counter[str]) -> None:
    version, pid, before = source.publish(), _pid(life), life.box.version
    life.want(version)
    ends_s = time.monotonic() + updates.ARRIVES_WITHIN_S
    while life.state() != state and not life.arrived(version) and time.monotonic() < ends_s:
        time.sleep(0.001)
    time.sleep(dice.uniform(0, AFTER_S))
    try:
        fill(filler, leave=0)
        fallen[life.state()] += 1
        switched = len(life.box.switched)
        life.wait(lambda: _said(life) or life.arrived(version), "the disk is full, and nobody says so", SAYS_WITHIN_S)
        time.sleep(dice.uniform(*FULL_S))
        if len(life.box.switched) > switched + 2:  # there, and back
            raise LostError(f"what runs does not go on: {life.box.switched[switched:]}")
        life.wait(lambda: life.now, "the updater says nothing", updates.ARRIVES_WITHIN_S)
        if life.runs(before) and _pid(life) != pid and len(life.box.switched) == switched:
            raise LostError("the updater has died")
    finally:
        filler.unlink()
    life.arrive(version)
    if wrong := updates.ready(life, source):
        raise LostError(wrong)
    updates.remembered(life.box, source, checked=True)


def _pid(life: Life) -> int:
    return life.box.processes["update"].pid


def _said(life: Life) -> bool:
    now = life.now
    if now is None:
        return False
    said = "; ".join([now.trouble, *(one.words for one in now.obstacles), *(one.words for one in now.answers)])
    return any(words in said for words in WORDS)
