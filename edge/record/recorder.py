"""From events to key frames and clips. Called by the core loop after the commit; it only picks and queues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge.messages import Alert, Event, FindingEnded, LandmarkReached
from edge.record.config import RecordConfig
from edge.record.outside import Outside
from edge.record.shown import Shown, of_landmark, of_track
from edge.record.spool import Job, Spool, SpoolStatus, Write
from edge.types import Box, Findings, Gap, Ring, Still

NEAR_NS = 500_000_000  # a still further away does not show it
SETTLE_NS = 200_000_000  # a still may be so much later than its frame
NO_PROCEDURE = "no-procedure"

Mux = Callable[[Sequence[Still], Path], None]
"""Writes stills as a film. Raises OSError or EdgeError."""


class _Later(NamedTuple):
    """Something to keep once its time has passed: what shows it may still be on its way through the branch."""

    due_ns: int
    make: Callable[[], Job | None]


class Recorder:
    """Owner: the core loop's thread."""

    def __init__(self, config: RecordConfig, device: str, ring: Ring, spool: Spool, mux: Mux) -> None:
        self._config, self._device, self._ring, self._spool, self._mux = config, device, ring, spool, mux
        self._outside = Outside()
        self._later: list[_Later] = []
        self._best: dict[int, tuple[int, Still | None]] = {}  # track → when it was seen best, and the picture of that

    @property
    def status(self) -> SpoolStatus:
        return self._spool.status()

    def step(self, moment: Gap | Findings, events: Sequence[Event], best: Mapping[int, int] | None = None) -> None:
        """`best`: of the regions that are followed now, when each was seen best; the ring forgets that within seconds,
        and people look at what they found for a minute."""
        self._outside.step(moment, events)
        for event in events:
            self._plan(event)
        self._hold(moment.media_ns, best or {})
        if self._later:
            self._keep(moment.media_ns)

    def finish(self, events: Iterable[Event]) -> None:
        """The stream is over: films end where it ends. `events`: its last ones, which no step has told of."""
        for event in events:
            self._plan(event)
        self._keep(None)

    def close(self) -> None:
        self.finish(())
        self._spool.close()

    def _hold(self, now_ns: int, best: Mapping[int, int]) -> None:
        """A best view is looked for once, when it has stood for so long that its picture has come."""
        self._best = {track: held for track, held in self._best.items() if track in best}
        for track, seen_ns in best.items():
            if now_ns - seen_ns >= SETTLE_NS and (track not in self._best or self._best[track][0] != seen_ns):
                self._best[track] = seen_ns, self._near(seen_ns)

    def _near(self, media_ns: int) -> Still | None:
        still = self._ring.nearest(media_ns)
        if still is None or still.media_ns in self._outside:
            return None
        return still if abs(still.media_ns - media_ns) <= NEAR_NS else None

    def _plan(self, event: Event) -> None:
        if isinstance(event, Alert) and event.track:
            name = of_track(event.kind, event.track)
            self._plan_picture(event, name, event.kind, event.track, event.media_ns, event.box, event.score)
            self._plan_film(event.procedure, name, event.media_ns)
        elif isinstance(event, FindingEnded):  # its best view, where that is still there, in place of the first
            name = of_track(event.label, event.track)
            best = event.best_seen_ns, event.best_box, event.best_score
            self._plan_picture(event, name, event.label, event.track, *best)
        elif isinstance(event, LandmarkReached):
            name = of_landmark(event.kind)
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
        held_ns, held = self._best.get(track, (0, None))

        def make() -> Job | None:
            still = held if held_ns == media_ns and held is not None else self._near(media_ns)
            if still is None:
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
            taken = self._ring.between(first_ns, last_ns)
            stills = tuple(still for still in taken if still.media_ns not in self._outside)
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
