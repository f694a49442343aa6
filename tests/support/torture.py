"""Kill writer, uplink and broker at random, many times, and count what of the promised messages arrived.

    result = torture(folder, kills=20, seed=7, confirm="subscriber")
    assert result.ok, result

The writer is a process that commits alerts as core would and prints one line for each *after* its commit: the promise.
The consumer keeps running: what it has taken is safe. Three things are checked: every promised id arrived, nothing
arrived twice under different ids, and first arrivals came in the order of the commits.
"""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edge.outbox import OutboxReader
from edge.uplink.config import UplinkConfig
from tests.support.broker import FORGETFUL, Broker
from tests.support.delivery import Inbox, consumer

QUIET_WITHIN_S = 60.0

_WRITER = """
import random, sys, time
from pathlib import Path
from edge.errors import OutboxFullError
from edge.outbox import Outbox
from edge.messages import Alert, Priority
def patiently(action, *args):  # "try again later", as core does
    while True:
        try:
            return action(*args)
        except OutboxFullError:
            time.sleep(0.05)
folder, run = Path(sys.argv[1]), int(sys.argv[2])
dice = random.Random(run)
outbox = patiently(Outbox.open, folder / "outbox.db", "box-1", 8 << 20, folder / "bell")
number = run * 1_000_000
while True:
    batch = []
    for _ in range(dice.randint(1, 3)):
        number += 1
        batch.append(Alert(kind="polyp", priority=Priority.HIGH, text="look", captured_ns=number, media_ns=run))
    for message in patiently(outbox.put, batch):
        print(message.id, message.event.captured_ns, flush=True)
    time.sleep(dice.uniform(0, 0.02))
"""

_UPLINK = """
import sys, threading
from pathlib import Path
import msgspec
from edge.uplink import service
from edge.uplink.config import UplinkConfig
folder = Path(sys.argv[1])
config = msgspec.json.decode(sys.argv[2], type=UplinkConfig)
service.run(config, "box-1", folder / "outbox.db", folder / "uplink.json", folder / "bell", threading.Event())
"""


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


class Cast:
    """The three processes, each restartable. Close it."""

    def __init__(self, folder: Path, confirm: Literal["broker", "subscriber"]) -> None:
        self.folder = folder
        self.broker = Broker(folder, options=FORGETFUL)
        self.config = UplinkConfig(
            host="127.0.0.1",
            port=self.broker.port,
            keepalive_s=2,
            confirm=confirm,
            confirm_timeout_s=1.0,
            retry_min_s=0.05,
            retry_max_s=0.2,
        )
        self._config_json = msgspec.json.encode(self.config).decode()
        self._promises = (folder / "promises").open("ab")
        self._log = (folder / "log").open("ab")
        self._runs = 0
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        if name == "broker":
            self.broker.start()
            return
        if name == "writer":
            self._runs += 1
            args, out = [_WRITER, str(self.folder), str(self._runs)], self._promises
        else:
            args, out = [_UPLINK, str(self.folder), self._config_json], self._log
        self._processes[name] = subprocess.Popen([sys.executable, "-c", *args], stdout=out, stderr=self._log)

    def kill(self, name: str) -> None:
        if name == "broker":
            self.broker.kill()
        elif process := self._processes.pop(name, None):
            assert process.poll() is None, f"{name} ended by itself: {self.log()}"
            process.send_signal(signal.SIGKILL)
            process.wait()

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def promised(self) -> dict[str, int]:
        """id → number; the last line may be half."""
        lines = [
            line.split() for line in (self.folder / "promises").read_text().splitlines(keepends=True) if "\n" in line
        ]
        return {id: int(number) for id, number in lines}

    def close(self) -> None:
        for name in ("writer", "uplink", "broker"):
            self.kill(name)
        self._promises.close()
        self._log.close()


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
    cast = Cast(folder, confirm)
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
