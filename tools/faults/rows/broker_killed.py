"""A broker that dies and forgets all that it has acknowledged: only the subscriber's own word counts as a delivery."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

from tests.support.broker import FORGETFUL, Broker, missing_tools
from tests.support.rounds import playing, says

TITLE = 'the broker is killed and comes back without its memory (confirm = "subscriber")'
PROMISE = "the uplink says that nobody listens; every committed message arrives, in order"
TIMES, FEW = 30, 1
missing = missing_tools


def play(folder: Path, times: int, dice: random.Random, *, careless: bool = False) -> Iterator[str]:
    broker = Broker(folder, options=FORGETFUL)
    with playing(folder, broker, careless=careless, confirm="subscriber", confirm_timeout_s=1.0) as scene:
        for _ in range(times):
            yield scene.round(_dead(broker), says("nothing listens there"), dice)


def control(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    """An uplink that forgets what it has sent."""
    yield from play(folder, times, dice, careless=True)


@contextlib.contextmanager
def _dead(broker: Broker) -> Iterator[None]:
    broker.kill()
    try:
        yield
    finally:
        broker.start()
