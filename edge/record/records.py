"""The record of the procedure that goes on: written again and again while it runs, and once more when it is over."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge import clock
from edge.clock import Wall
from edge.decide.chronicle import Chronicle
from edge.messages import Event, FindingEnded, LandmarkReached, ProcedureStarted
from edge.procedure import Heading, Made, State
from edge.record.recorder import SETTLE_NS
from edge.record.shown import with_key_frames
from edge.record.spool import Spool
from edge.types import Findings, Gap

EVERY_NS = 10_000_000_000
SOON_NS = 3 * SETTLE_NS  # after something was found: its key frame is on the way to the disk by then


class _Start(NamedTuple):
    """`ns`: CLOCK_MONOTONIC. `wall`: the wall clock of then, as it was last known."""

    ns: int
    wall: Wall


class Records:
    """Owner: the core loop's thread. It copies what was heard; the spool's thread makes the record of it."""

    def __init__(self, chronicle: Chronicle, device: str, made_by: Made, spool: Spool) -> None:
        self._chronicle, self._device, self._made_by, self._spool = chronicle, device, made_by, spool
        self._boot = clock.boot_id()
        self._start = _Start(0, Wall(0.0, False))
        self._due_ns = self._heard = 0
        self._over = True

    @property
    def unheard(self) -> Sequence[FindingEnded]:
        """Findings that ended with the stream, of which no step has told."""
        return () if self._over else self._chronicle.findings[self._heard :]

    def step(self, moment: Gap | Findings, events: Iterable[Event]) -> None:
        """After the recorder's own step: pictures are queued first."""
        for event in events:
            if isinstance(event, ProcedureStarted):
                self._begin(moment, event)
            elif isinstance(event, (FindingEnded, LandmarkReached)):
                self._heard += isinstance(event, FindingEnded)
                self._due_ns = min(self._due_ns, moment.captured_ns + SOON_NS)
        if self._over:
            return
        if self._chronicle.ended:
            self._write("ended")
        elif moment.captured_ns >= self._due_ns:
            self._write("running")
            self._due_ns = moment.captured_ns + EVERY_NS

    def close(self) -> None:
        """The stream is over, and with it the procedure; or it broke off."""
        if not self._over:
            self._write("ended" if self._chronicle.ended else "interrupted")

    def _begin(self, moment: Gap | Findings, event: ProcedureStarted) -> None:
        """Both ends of a procedure are told late, and dated back in media time."""
        start_ns = event.captured_ns - max(0, moment.media_ns - event.media_ns)
        self._start = _Start(start_ns, _wall_of(start_ns))
        self._over, self._due_ns, self._heard = False, moment.captured_ns, 0

    def _write(self, state: State) -> None:
        self._over = state != "running"
        if not self._start.wall.trusted:  # by now somebody may have set the clock right
            self._start = _Start(self._start.ns, _wall_of(self._start.ns))
        heading = Heading(
            device=self._device,
            boot=self._boot,
            started_at=str(self._start.wall),
            clock_trusted=self._start.wall.trusted,
            started_ns=self._start.ns,
            made_by=self._made_by,
        )
        make = functools.partial(_encode, self._chronicle.copy(), heading, state)
        self._spool.put_record(self._chronicle.procedure, make)


def _wall_of(ns: int) -> Wall:
    """What the wall clock said at that moment of this boot, if it went then as it goes now."""
    now = clock.read()
    return now._replace(at_s=now.at_s - (time.monotonic_ns() - ns) / 1e9)


def _encode(chronicle: Chronicle, heading: Heading, state: State, folder: Path) -> bytes:
    """In the spool's thread."""
    record, start_ns = chronicle.record(heading, state), chronicle.started_ns
    return msgspec.json.encode(with_key_frames(record, folder, lambda shown: (shown.media_ns - start_ns) / 1e9))
