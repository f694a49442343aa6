"""The disk under the outbox stands still: whoever writes to it hangs in the kernel, and no signal ends that."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from edge.uplink.wire import UplinkStatus
from tests.support.broker import Broker, missing_tools
from tests.support.cast import Stage
from tests.support.rounds import Play, playing
from tools.faults import mounts

TITLE = "the disk under the outbox stands still (fsfreeze), with deliveries under way"
PROMISE = (
    "the uplink feeds its watchdog no more, or says who keeps the outbox locked; once the disk moves, left alone or "
    "ended by the watchdog, every committed message arrives, in order"
)
TIMES, FEW = 20, 1
QUIET_S = 3.0  # it feeds the watchdog once a second


def missing() -> str:
    return missing_tools() or mounts.missing()


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    broker = Broker(folder)
    with mounts.mounted_new(folder / "data", "ext4", 64) as disk, contextlib.closing(Ear(folder / "notify")) as ear:
        stages = {"uplink": Stage(env=ear.env)}
        with playing(folder, broker, data=disk, stages=stages) as scene:
            for _ in range(times):
                yield scene.round(_stalled(scene, disk, dice), ear.hears_trouble, dice, meanwhile=0)


class Ear:
    """Where systemd would listen for the watchdog's food."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        self._fed_s = time.monotonic()
        self.env = os.environ | {"NOTIFY_SOCKET": str(path)}

    def hears_trouble(self, status: UplinkStatus) -> bool:
        """Nothing was heard for a while, or the status names what is locked."""
        with contextlib.suppress(BlockingIOError):
            while True:
                if b"WATCHDOG=1" in self._socket.recv(4096):
                    self._fed_s = time.monotonic()
        return time.monotonic() - self._fed_s > QUIET_S or "kept it locked" in status.last_error

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def _stalled(scene: Play, disk: Path, dice: random.Random) -> Iterator[None]:
    """With messages under way that the broker will acknowledge, so that the uplink has to write. A writer that lives
    may hang with the outbox's lock; without one it is the uplink that hangs."""
    cast, alone, ended = scene.cast, dice.random() < 0.5, dice.random() < 0.5
    cast.broker.freeze()
    try:
        scene.wait_promises(5)
        if alone:
            cast.kill("writer")
        mounts.run("fsfreeze", "--freeze", disk)
    finally:
        cast.broker.thaw()
    try:
        yield
        if ended:
            cast.end("uplink")  # it dies as soon as the disk lets it
    finally:
        mounts.run("fsfreeze", "--unfreeze", disk)
    if ended:
        cast.restart("uplink")
    if alone:
        cast.start("writer")
