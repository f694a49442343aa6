"""A writer that promises, an uplink that delivers, and somebody who compares: each a process, or in nobody's way.

The writer commits alerts as core would and prints one line for each *after* its commit: the promise. The consumer keeps
running: what it has taken is safe.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.uplink.config import UplinkConfig
from tests.support.broker import Broker
from tests.support.delivery import Inbox

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
folder, run, pause_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
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
    time.sleep(dice.uniform(0, pause_s))
"""

_UPLINK = """
import sys, threading
from pathlib import Path
import msgspec
from edge.uplink import service
from edge.uplink.config import UplinkConfig
data, status = Path(sys.argv[1]), Path(sys.argv[2])
config = msgspec.json.decode(sys.argv[3], type=UplinkConfig)
if sys.argv[4:] == ["careless"]:
    from edge.uplink.delivery import Lane
    sending = Lane.sending
    def forgets(lane, seq, *rest):
        sending(lane, seq, *rest)
        lane.done.add(seq)
    Lane.sending = forgets
service.run(config, "box-1", data / "outbox.db", status, data / "bell", threading.Event())
"""


@dataclass(frozen=True)
class Stage:
    """Where a process plays: its environment on top of ours, and what its command is put behind."""

    env: Mapping[str, str] | None = None
    prefix: Sequence[str] = ()


class Cast:
    """The three processes, each restartable by its name: "broker", "writer", "uplink". Owner: one thread."""

    def __init__(
        self,
        folder: Path,
        broker: Broker,
        config: UplinkConfig,
        *,
        data: Path | None = None,
        pause_s: float = 0.02,
        stages: Mapping[str, Stage] | None = None,
        careless: bool = False,
    ) -> None:
        """`data`: the outbox's folder, `folder` when it is no other. `pause_s`: the longest between two commits.
        `stages`: of writer and uplink, where they are not like ours. `careless`: an uplink that
        forgets what it has sent, whatever becomes of it: a rig that sees no loss then is blind."""
        self._careless = ["careless"] if careless else []
        self.folder, self.broker, self.config = folder, broker, config
        self.data, self.status_path = data or folder, folder / "uplink.json"
        self._pause_s, self._stages = pause_s, stages or {}
        self._promises = (folder / "promises").open("ab")
        self._log = (folder / "log").open("ab")
        self._runs = 0
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def promises(self) -> Path:
        return self.folder / "promises"

    def start(self, name: str) -> None:
        if name == "broker":
            self.broker.start()
            return
        if name == "writer":
            self._runs += 1
            args, out = [_WRITER, str(self.data), str(self._runs), str(self._pause_s)], self._promises
        else:
            config = msgspec.json.encode(self.config).decode()
            args, out = [_UPLINK, str(self.data), str(self.status_path), config, *self._careless], self._log
        stage = self._stages.get(name, Stage())
        command = [*stage.prefix, sys.executable, "-c", *args]
        self._processes[name] = subprocess.Popen(command, stdout=out, stderr=self._log, env=stage.env)

    def kill(self, name: str) -> None:
        if name == "broker":
            self.broker.kill()
        elif process := self._processes.pop(name, None):
            assert process.poll() is None, f"{name} ended by itself: {self.log()}"
            process.send_signal(signal.SIGKILL)
            process.wait()

    def end(self, name: str) -> None:
        """SIGKILL, without waiting for what it does: nothing, while it hangs in the kernel."""
        self._processes[name].kill()

    def restart(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()
        self.start(name)

    def lives(self, name: str) -> bool:
        return name in self._processes and self._processes[name].poll() is None

    @property
    def expected(self) -> list[str]:
        """Writer and uplink, where they were started and not killed."""
        return list(self._processes)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def promised(self) -> dict[str, int]:
        """id → number; the last line may be half."""
        lines = [line.split() for line in self.promises.read_text().splitlines(keepends=True) if "\n" in line]
        return {id: int(number) for id, number in lines}

    def close(self) -> None:
        """Also what has ended by itself, which was said before."""
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._processes.clear()
        self.broker.kill()
        self._promises.close()
        self._log.close()


class Witness:
    """Promises against arrivals, as they come: what is owed, and what came that should not have. Owner: one thread."""

    def __init__(self, promises: Path, inbox: Inbox) -> None:
        self._inbox, self._taken = inbox, 0
        self._file = promises.open("r")
        self._half = ""
        self._early: set[str] = set()  # arrived, and its promise has not been read yet
        self._last = (0, 0)
        self.owed: set[str] = set()
        self.promised = 0
        self.wrong = ""  # the first arrival that was out of order, or there before under another id

    def look(self) -> None:
        """Take in all that was promised and all that has arrived since the last look."""
        *lines, self._half = (self._half + self._file.read()).split("\n")
        for id in (line.split()[0] for line in lines):
            self.promised += 1
            self._strike(id, self._early, self.owed)
        messages = self._inbox.messages
        for message in messages[self._taken : len(messages)]:
            self._taken += 1
            self._strike(message.id, self.owed, self._early)
            place = (message.seq, message.event.captured_ns)  # the writer's numbers rise with its commits
            if not self.wrong and not (place[0] > self._last[0] and place[1] > self._last[1]):
                self.wrong = f"message {place} arrived after {self._last}"
            self._last = place

    @staticmethod
    def _strike(id: str, waiting: set[str], otherwise: set[str]) -> None:
        if id in waiting:
            waiting.remove(id)
        else:
            otherwise.add(id)

    def forget(self, ids: set[str]) -> None:
        """They are lost, which was said once."""
        self.owed -= ids

    def close(self) -> None:
        self._file.close()
