"""What every fault of the line has in common: it comes, it is said, it goes, and nothing that was promised is lost.

with playing(folder, broker, keepalive_s=2) as play:
    for _ in range(times):
        yield play.round(frozen(broker), says("it hangs"), dice)
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edge.outbox import OutboxReader
from edge.status import Every
from edge.uplink.config import UplinkConfig
from edge.uplink.wire import UplinkStatus
from tests.support.broker import Broker
from tests.support.cast import Cast, Stage, Witness
from tests.support.delivery import consumer
from tests.support.waiting import wait_for

SAID_WITHIN_S = 60.0  # only a failure comes to these
WELL_WITHIN_S = 120.0
LOST_AFTER_NS = 5_000_000_000
MEANWHILE = 5

Said = Callable[[UplinkStatus], bool]


def says(*texts: str) -> Said:
    """One of these is part of what the uplink says is wrong."""
    return lambda status: any(text in status.last_error for text in texts)


class Play:
    """Owner: one thread."""

    def __init__(self, cast: Cast, witness: Witness) -> None:
        self.cast, self._witness = cast, witness

    @property
    def status(self) -> UplinkStatus | None:
        """The uplink's own word; None before the first."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self.cast.status_path.read_bytes(), type=UplinkStatus)
        return None

    def round(
        self,
        fault: contextlib.AbstractContextManager[object],
        said: Said | None,
        dice: random.Random,
        meanwhile: int = MEANWHILE,
    ) -> str:
        """`fault` comes and goes; `said`: what the uplink's status has to show before it goes, None for nothing;
        `meanwhile`: promises, at least, that are made while it lasts. What went wrong; "" when nothing did."""
        try:
            time.sleep(dice.uniform(0, 0.3))  # any moment of the writer's and the uplink's work
            with fault:
                if said is not None:
                    self.wait_said(said)
                self.wait_promises(meanwhile)
            self.wait_well()
        except AssertionError as exc:
            return " ".join(str(exc).split())
        return self._witness.wrong

    def wait_said(self, said: Said, within_s: float = SAID_WITHIN_S) -> UplinkStatus:
        """The first status that is so."""
        found: list[UplinkStatus] = []

        def look() -> bool:
            status = self.status
            found.extend([status] if status is not None and said(status) else [])
            return bool(found)

        self._wait(look, "the uplink's status says what is wrong", within_s)
        return found[0]

    def wait_promises(self, more: int) -> None:
        self._witness.look()
        goal = self._witness.promised + more

        def look() -> bool:
            self._witness.look()
            return self._witness.promised >= goal

        self._wait(look, f"{more} more promises", SAID_WITHIN_S)

    def wait_well(self) -> None:
        """Until all that is promised by now has arrived, and the uplink's next word is that nothing is wrong."""
        began_ns = time.monotonic_ns()
        self._witness.look()
        owed, patience = set(self._witness.owed), Every(LOST_AFTER_NS)
        patience.due()

        def look() -> bool:
            self._witness.look()
            if patience.due():
                self._look_for_lost(owed)
            return not owed & self._witness.owed

        self._wait(look, f"{len(owed)} promised messages arrive", WELL_WITHIN_S)
        self.wait_said(lambda s: s.updated_ns > began_ns and s.connected and s.last_error == "", WELL_WITHIN_S)

    def _look_for_lost(self, owed: set[str]) -> None:
        """What has neither arrived nor waits in the outbox, and does not arrive within a while."""
        with contextlib.closing(OutboxReader.open(self.cast.data / "outbox.db")) as reader:
            kept = {row.id for row in reader.pending(1_000_000)}
        lost = owed & self._witness.owed - kept
        deadline = time.monotonic() + LOST_AFTER_NS / 1e9
        while lost and time.monotonic() < deadline:
            time.sleep(0.05)
            self._witness.look()
            lost &= self._witness.owed
        self._witness.forget(lost)
        assert not lost, f"lost: {len(lost)} promised messages, {min(lost)} among them"

    def _wait(self, condition: Callable[[], bool], what: str, within_s: float) -> None:
        """Both processes have to live all the while."""

        def look() -> bool:
            for name in self.cast.expected:
                assert self.cast.lives(name), f"{name} ended by itself: {self.cast.log()}"
            return condition()

        try:
            wait_for(look, what, within_s)
        except AssertionError as exc:
            status = self.status
            said = f"{status.last_error!r}, {status.depth} wait" if status else "nothing"
            raise AssertionError(f"{exc}; still owed: {len(self._witness.owed)}; the uplink says {said}") from None


@contextlib.contextmanager
def playing(
    folder: Path,
    broker: Broker,
    *,
    data: Path | None = None,
    stages: Mapping[str, Stage] | None = None,
    ward: Mapping[str, Any] | None = None,
    careless: bool = False,
    **config: Any,
) -> Iterator[Play]:
    """Broker, writer, uplink and consumer run on entry; everything is gone on exit. `config`: of the uplink; `ward`:
    what is different for the consumer."""
    quick = {"host": "127.0.0.1", "port": broker.port, "keepalive_s": 2, "retry_min_s": 0.05, "retry_max_s": 0.2}
    uplink = msgspec.convert(quick | config, UplinkConfig)
    listener = msgspec.convert(quick | config | dict(ward or {}), UplinkConfig)
    cast = Cast(folder, broker, uplink, data=data, pause_s=0.05, stages=stages, careless=careless)
    try:
        cast.start("broker")
        with consumer(listener) as inbox, contextlib.closing(Witness(cast.promises, inbox)) as witness:
            cast.start("writer")
            cast.start("uplink")
            play = Play(cast, witness)
            play.wait_promises(1)
            play.wait_well()
            yield play
    finally:
        cast.close()
