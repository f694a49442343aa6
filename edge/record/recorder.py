"""From events to key frames and clips. Called by the core loop after the commit; it only picks and queues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge.messages import Alert, Event, FindingEnded, LandmarkReached
from edge.record.config import RecordConfig
from edge.record.spool import Job, Spool, SpoolStatus, Write
from edge.types import Box, Field, Findings, Gap, Ring, Still, Struct

NEAR_NS = 500_000_000  # a still further away does not show it
SETTLE_NS = 200_000_000  # a still may be so much later than its frame
NO_PROCEDURE = "no-procedure"

Mux = Callable[[Sequence[Still], Path], None]
"""Writes stills as a film. Raises OSError or EdgeError."""


class Shown(Struct, frozen=True, kw_only=True):
    """`NAME.json`: what the picture and the film of this name show. Times as in the events, boxes in px."""

    device: str
    procedure: str
    kind: str  # "polyp", "caecum": the alert's, the finding's, the landmark's
    track: int  # 0 for a landmark
    score: float
    captured_ns: int
    media_ns: int
    width: int  # of the picture
    height: int
    box: Box | None  # in the picture
    source_box: Box | None  # in the tower's
    field: Field  # of the tower's picture


class _Later(NamedTuple):
    """Something to keep once its time has passed: what shows it may still be on its way through the branch."""

    due_ns: int
    make: Callable[[], Job | None]


class Recorder:
    """Owner: the core loop's thread."""

    def __init__(self, config: RecordConfig, device: str, ring: Ring, spool: Spool, mux: Mux) -> None:
        self._config, self._device, self._ring, self._spool, self._mux = config, device, ring, spool, mux
        self._later: list[_Later] = []

    @property
    def status(self) -> SpoolStatus:
        return self._spool.status()

    def step(self, moment: Gap | Findings, events: Iterable[Event]) -> None:
        for event in events:
            self._plan(event)
        if self._later:
            self._keep(moment.media_ns)

    def close(self) -> None:
        """The stream is over: films end where it ends."""
        self._keep(None)
        self._spool.close()

    def _plan(self, event: Event) -> None:
        if isinstance(event, Alert) and event.track:
            name = f"{event.kind}-{event.track:04d}"
            self._plan_picture(event, name, event.kind, event.track, event.media_ns, event.box, event.score)
            self._plan_film(event.procedure, name, event.media_ns)
        elif isinstance(event, FindingEnded):  # its best view, where that is still there, in place of the first
            name = f"{event.label}-{event.track:04d}"
            best = event.best_seen_ns, event.best_box, event.best_score
            self._plan_picture(event, name, event.label, event.track, *best)
        elif isinstance(event, LandmarkReached):
            name = f"landmark-{event.kind}"
            self._plan_picture(event, name, event.kind, 0, event.media_ns, None, event.best_score)
            self._plan_film(event.procedure, name, event.media_ns)

    def _plan_picture(
        self,
        event: Alert | FindingEnded | LandmarkReached,
        name: str,
        kind: str,
        track: int,
        media_ns: int,
        box: Box | None,
        score: float,
    ) -> None:
        def make() -> Job | None:
            still = self._ring.nearest(media_ns)
            if still is None or abs(still.media_ns - media_ns) > NEAR_NS:
                return None
            shown = Shown(
                device=self._device,
                procedure=event.procedure,
                kind=kind,
                track=track,
                score=score,
                captured_ns=still.captured_ns,
                media_ns=still.media_ns,
                width=still.width,
                height=still.height,
                box=in_still(box, still) if box else None,
                source_box=box,
                field=still.field,
            )
            files: dict[str, bytes | Write] = {".jpg": still.jpeg, ".json": msgspec.json.encode(shown)}
            return Job(event.procedure or NO_PROCEDURE, name, files)

        if self._config.key_frames:
            self._later.append(_Later(media_ns + SETTLE_NS, make))

    def _plan_film(self, procedure: str, name: str, media_ns: int) -> None:
        first_ns = media_ns - round(self._config.before_s * 1e9)
        last_ns = media_ns + round(self._config.after_s * 1e9)

        def make() -> Job | None:
            stills = tuple(self._ring.between(first_ns, last_ns))
            films: dict[str, bytes | Write] = {".mkv": lambda path: self._mux(stills, path)}
            return Job(procedure or NO_PROCEDURE, name, films) if stills else None

        if self._config.clips:
            self._later.append(_Later(last_ns + SETTLE_NS, make))

    def _keep(self, now_ns: int | None) -> None:
        """What is due; everything when there is no later."""
        due = [later for later in self._later if now_ns is None or later.due_ns <= now_ns]
        self._later = [later for later in self._later if later not in due]
        for later in due:
            job = later.make()
            if job is not None:
                self._spool.put(job)


def in_still(box: Box, still: Still) -> Box:
    """A box in source pixels as one in the still's, cut off at its edges."""
    field = still.field
    across, down = still.width / field.width, still.height / field.height

    def x(value: float) -> float:
        return round(min(max(0.0, (value - field.x) * across), still.width), 1)

    def y(value: float) -> float:
        return round(min(max(0.0, (value - field.y) * down), still.height), 1)

    return x(box[0]), y(box[1]), x(box[2]), y(box[3])
