"""The network cable is pulled out of the box, and put in again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import cable
from tests.support.broker import Broker, missing_tools
from tests.support.cast import Stage
from tests.support.rounds import playing, says

TITLE = "the network cable is out (uplink in a network namespace, its veth without a carrier)"
PROMISE = "the uplink says that it hears nothing or has no way there; every committed message arrives, in order"
TIMES, FEW = 20, 1
SAID = ("connected, but silent", "no answer", "there is no way there")


def missing() -> str:
    return missing_tools() or cable.missing()


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    with cable.cable() as laid:
        broker = Broker(folder, also_at=cable.HERE)
        stages = {"uplink": Stage(prefix=laid.prefix)}
        site: dict[str, Any] = {"host": cable.HERE, "allow_plaintext": True}
        with playing(folder, broker, stages=stages, ward={"host": "127.0.0.1"}, **site) as scene:
            for _ in range(times):
                yield scene.round(laid.out(), says(*SAID), dice)
