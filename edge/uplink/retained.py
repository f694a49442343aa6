"""What the broker keeps of a box: that it is there, and what its updater says. Built here, sent by the service."""

from __future__ import annotations

import time
from typing import NamedTuple

import msgspec

from edge import clock, release
from edge.updating import STALE_NS, UpdateStatus
from edge.uplink.wire import State, Update, UpdateBrief

LEAST_S = 1.0  # between two, whatever changes
PROGRESS_S, PROGRESS_PERCENT = 2.0, 5  # ... and between two that only say how far it is
NONE_FOR_S = 60.0  # connected, and no updater has said anything: there is none, and an earlier one's word goes


def birth(device: str, *, online: bool, reason: str, safe: str) -> bytes:
    wall = clock.read()
    state = State(
        device=device,
        online=online,
        reason=reason,
        software=release.version(),
        boot=clock.boot_id(),
        connected_at=str(wall),
        clock_trusted=wall.trusted,
        safe=safe,
    )
    return msgspec.json.encode(state)


class _Sent(NamedTuple):
    essence: tuple[UpdateStatus, bool]
    said: UpdateStatus
    at_s: float


class Updates:
    """Whether what the updater says is to be sent (again). Owner: the uplink's thread."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._last: UpdateStatus | None = None
        self.connected(0.0)

    def connected(self, now_s: float) -> None:
        """The broker may have lost what it kept."""
        self._sent: _Sent | None = None
        self._since_s, self._cleared = now_s, False

    def due(self, said: UpdateStatus | None, now_s: float) -> bytes | None:
        """What is to be sent now, b"" to have the broker forget; None: nothing. `said` None: there is no file."""
        said = self._last = said or self._last
        if said is None:
            if self._cleared or now_s - self._since_s < NONE_FOR_S:
                return None
            self._cleared = True
            return b""
        essence = (_essence(said), alive(said))
        if not self._is_due(said, essence, now_s):
            return None
        self._sent, self._cleared = _Sent(essence, said, now_s), False
        wall = clock.read()
        told = Update(device=self._device, at=str(wall), clock_trusted=wall.trusted, alive=essence[1], updater=said)
        return msgspec.json.encode(told)

    def _is_due(self, said: UpdateStatus, essence: tuple[UpdateStatus, bool], now_s: float) -> bool:
        if self._sent is None:
            return True
        ago_s = now_s - self._sent.at_s
        if essence != self._sent.essence:
            return ago_s >= LEAST_S
        if abs(said.percent - self._sent.said.percent) >= PROGRESS_PERCENT:
            return ago_s >= LEAST_S
        return ago_s >= PROGRESS_S and _timeless(said) != _timeless(self._sent.said)


def alive(said: UpdateStatus) -> bool:
    return time.monotonic_ns() - said.updated_ns < STALE_NS


def brief(said: UpdateStatus | None) -> UpdateBrief | None:
    """For telemetry."""
    if said is None:
        return None
    return UpdateBrief(
        alive=alive(said), version=said.version, state=said.state, trouble=said.trouble, refused=said.refused
    )


def _essence(said: UpdateStatus) -> UpdateStatus:
    """Without what only says how far it is."""
    trial = msgspec.structs.replace(said.trial, healthy_s=0.0) if said.trial else None
    answers = tuple(answer for answer in said.answers if answer.done)
    return msgspec.structs.replace(said, updated_ns=0, percent=0, detail="", trial=trial, answers=answers)


def _timeless(said: UpdateStatus) -> UpdateStatus:
    return msgspec.structs.replace(said, updated_ns=0)
