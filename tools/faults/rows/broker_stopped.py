"""A broker that is frozen: its machine swaps itself to death, or its disk hangs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tests.support.broker import Broker, frozen, missing_tools
from tests.support.rounds import playing, says

TITLE = "the broker freezes (SIGSTOP) with the connection open, and thaws"
PROMISE = "the uplink says that it hangs; every committed message arrives, in order"
TIMES, FEW = 20, 1
missing = missing_tools


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    broker = Broker(folder)
    with playing(folder, broker) as scene:
        for _ in range(times):
            yield scene.round(frozen(broker), says("connected, but silent: it hangs"), dice)
