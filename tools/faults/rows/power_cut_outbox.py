"""The power goes while core commits alerts and uplink deletes what it has delivered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tools.faults import mounts, power

TITLE = "power cut on the outbox"
PROMISE = "every committed alert is there or was delivered, in order; sequence numbers go on upwards"
TIMES = 200
PARTS = ("core", "uplink")

missing = mounts.missing


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    return power.play(PARTS, folder, times, dice)


def control(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    return power.play(PARTS, folder, times, dice, careless=True)
