"""The power goes while the console notes what is done, and somebody tries tokens at it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tools.faults import mounts, power

TITLE = "power cut on the console"
PROMISE = "every line of the audit log is there and its chain holds; a failed login still has to wait"
TIMES = 200
PARTS = ("console",)

missing = mounts.missing


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    return power.play(PARTS, folder, times, dice)


def control(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    return power.play(PARTS, folder, times, dice, careless=True)
