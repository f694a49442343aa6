"""The power goes while key frames and clips are written to the spool, and old ones make room."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tools.faults import mounts, power

TITLE = "power cut on the spool"
PROMISE = "every picture that was saved is there, and what has a name is whole"
TIMES = 200
PARTS = ("spool",)

missing = mounts.missing


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    return power.play(PARTS, folder, times, dice)


def control(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    return power.play(PARTS, folder, times, dice, careless=True)
