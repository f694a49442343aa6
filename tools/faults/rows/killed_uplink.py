"""kill -9 of the uplink while alerts are committed and delivered to a broker that remembers nothing."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.broker import missing_tools
from tests.support.delivery import Inbox, consumer
from tests.support.torture import usual_cast

TITLE = "kill -9 of the uplink"
PROMISE = "every committed alert arrives, in order, and none under two ids"
TIMES = 200

ARRIVES_WITHIN_S = 30.0
LIFE_S = 0.5

missing = missing_tools


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    cast = usual_cast(folder, "subscriber")
    with contextlib.closing(cast):
        cast.start("broker")
        with consumer(cast.config) as inbox:
            cast.start("writer")
            cast.start("uplink")
            arrivals = Arrivals(inbox)
            for _ in range(times):
                time.sleep(dice.uniform(0, LIFE_S))
                cast.kill("uplink")
                promised = set(cast.promised())
                cast.start("uplink")
                if dice.random() < 1 / 3:  # the next one does not even get to work
                    time.sleep(dice.uniform(0, LIFE_S))
                    cast.kill("uplink")
                    cast.start("uplink")
                yield arrivals.missing(promised)


class Arrivals:
    """What a consumer has, looked at once a round."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox, self._looked = inbox, 0
        self._numbers: dict[int, str] = {}  # of the alert → id of its message
        self._ids: set[str] = set()
        self._last_seq = 0

    def missing(self, promised: set[str]) -> str:
        """Wait for all of them; what is wrong with those that came."""
        deadline = time.monotonic() + ARRIVES_WITHIN_S
        while True:
            if wrong := self._look():
                return wrong
            if promised <= self._ids:
                return ""
            if time.monotonic() > deadline:
                return f"{len(promised - self._ids)} of {len(promised)} committed alerts did not arrive"
            time.sleep(0.02)

    def _look(self) -> str:
        for message in itertools.islice(self._inbox.messages, self._looked, None):
            self._looked += 1
            self._ids.add(message.id)
            if self._numbers.setdefault(message.event.captured_ns, message.id) != message.id:
                return f"alert {message.event.captured_ns} came under two ids"
            if message.seq <= self._last_seq:
                return f"seq {message.seq} came after {self._last_seq}"
            self._last_seq = message.seq
        return ""
