"""Kill writer, uplink and broker at random, many times, and count what of the promised messages arrived.

    result = torture(folder, kills=20, seed=7, confirm="subscriber")
    assert result.ok, result

`tests/support/cast.py` has the processes and what a promise is. Three things are checked: every promised id arrived,
nothing arrived twice under different ids, and first arrivals came in the order of the commits.
"""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.outbox import OutboxReader
from edge.uplink.config import UplinkConfig
from tests.support.broker import FORGETFUL, Broker
from tests.support.cast import Cast
from tests.support.delivery import Inbox, consumer

QUIET_WITHIN_S = 60.0


@dataclass(frozen=True)
class Result:
    """`promised`, `arrived`: messages. `extra`: committed, but the writer died before it said so."""

    seed: int
    kills: dict[str, int]
    promised: int
    arrived: int
    missing: tuple[str, ...]  # ids
    extra: int
    duplicates: int
    reused: int
    disordered: int
    left: int  # still in the outbox at the end: late, not lost

    @property
    def ok(self) -> bool:
        return self.promised > 0 and not (self.missing or self.reused or self.disordered or self.left)

    def __str__(self) -> str:
        kills = ", ".join(f"{count} {name}" for name, count in self.kills.items())
        return (
            f"{self.promised - len(self.missing)} of {self.promised} promised messages arrived "
            f"(seed {self.seed}; killed: {kills}; {self.extra} more were committed but not yet promised; "
            f"{self.duplicates} duplicates by id, {self.reused} under another id, {self.disordered} out of order, "
            f"{self.left} still waiting)" + "".join(f"\nmissing: {id}" for id in self.missing[:10])
        )


def usual_cast(folder: Path, confirm: Literal["broker", "subscriber"]) -> Cast:
    """With a broker that has no memory, and an uplink that loses no time."""
    broker = Broker(folder, options=FORGETFUL)
    config = UplinkConfig(
        host="127.0.0.1",
        port=broker.port,
        keepalive_s=2,
        confirm=confirm,
        confirm_timeout_s=1.0,
        retry_min_s=0.05,
        retry_max_s=0.2,
    )
    return Cast(folder, broker, config)


def torture(
    folder: Path,
    *,
    kills: int,
    seed: int,
    confirm: Literal["broker", "subscriber"] = "subscriber",
    pause_s: float = 0.5,
) -> Result:
    """`confirm` "broker": the broker is spared, because its word is believed. "subscriber": it dies too, and has no
    persistence. `pause_s`: the longest time between two kills."""
    dice = random.Random(seed)
    victims = ["writer", "uplink"] if confirm == "broker" else ["writer", "uplink", "broker"]
    cast = usual_cast(folder, confirm)
    count = dict.fromkeys(victims, 0)
    try:
        cast.start("broker")
        with consumer(cast.config) as inbox:
            cast.start("writer")
            cast.start("uplink")
            for _ in range(kills):
                time.sleep(dice.uniform(0, pause_s))
                victim = dice.choice(victims)
                cast.kill(victim)
                count[victim] += 1
                cast.start(victim)
            time.sleep(pause_s)  # the last ones started get to work
            cast.kill("writer")
            return _judge(seed, count, cast.promised(), inbox, _wait_until_quiet(cast, inbox))
    finally:
        cast.close()


def _wait_until_quiet(cast: Cast, inbox: Inbox) -> int:
    """Until the outbox is empty and everything promised has arrived, or for QUIET_WITHIN_S. Returns what is left."""
    promised = set(cast.promised())
    deadline = time.monotonic() + QUIET_WITHIN_S
    reader = OutboxReader.open(cast.folder / "outbox.db")
    try:
        while time.monotonic() < deadline:
            if reader.depth() == 0 and promised <= {message.id for message in inbox.messages}:
                break
            time.sleep(0.1)
        return reader.depth()
    finally:
        reader.close()


def _judge(seed: int, kills: dict[str, int], promised: dict[str, int], inbox: Inbox, left: int) -> Result:
    arrived = [message.id for message in inbox.messages]
    numbers = inbox.numbers
    seqs = [message.seq for message in inbox.messages]
    return Result(
        seed=seed,
        kills=kills,
        promised=len(promised),
        arrived=len(arrived),
        missing=tuple(sorted(promised.keys() - set(arrived))),
        extra=len(set(arrived) - promised.keys()),
        duplicates=inbox.duplicates,
        reused=len(numbers) - len(set(numbers)),
        left=left,
        disordered=sum(later <= earlier for earlier, later in itertools.pairwise(seqs)),
    )
