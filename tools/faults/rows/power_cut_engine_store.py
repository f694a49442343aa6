"""The power goes while engines and settings are replaced: all that `write_atomically` writes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tools.faults import mounts, power

TITLE = "power cut on the engine store and its settings"
PROMISE = "each engine and setting is the last one that was written or a newer one, and whole"
TIMES = 200
PARTS = ("engines",)

missing = mounts.missing


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    return power.play(PARTS, folder, times, dice)


def control(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    return power.play(PARTS, folder, times, dice, careless=True)
