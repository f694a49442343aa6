"""A broker whose access rules are spoilt for a while. MQTT 3.1.1 would call each denied message a success."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

from tests.support.broker import Broker, missing_tools
from tests.support.rounds import playing, says

TITLE = "the broker's access rules forbid this box's topics for a while"
PROMISE = "the uplink says which topic is refused; every committed message arrives, in order"
TIMES, FEW = 30, 1
ALLOWED = "topic readwrite endoedge/#\n"
DENIED = "topic readwrite endoedge/+/state\ntopic read endoedge/#\n"
missing = missing_tools


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    broker = Broker(folder, acl=ALLOWED)
    with playing(folder, broker) as scene:
        for _ in range(times):
            yield scene.round(
                _denied(broker), says("endoedge/box-1/alert: the broker refuses it: Not authorized"), dice
            )


@contextlib.contextmanager
def _denied(broker: Broker) -> Iterator[None]:
    broker.set_acl(DENIED)
    try:
        yield
    finally:
        broker.set_acl(ALLOWED)
