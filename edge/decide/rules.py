"""Everything that follows from one frame, in one place: effort, signal, view, procedure, landmarks, tracks, alerts.

The events of one step come in this order: EffortChanged, EngineChanged, ProcedureDropped, SignalChanged, ViewChanged,
ProcedureStarted, LandmarkReached, FindingEnded (by track), AlertCleared and Alert (each in the table's order, by
track), Judged, ProcedureEnded. What ends a procedure closes all that was open in it first: FindingEnded, AlertCleared,
Judged, ProcedureEnded.
"""

from __future__ import annotations

from edge.decide.alerts import Alerts, Situation
from edge.decide.chronicle import Chronicle
from edge.decide.config import RulesConfig
from edge.decide.drops import Drops
from edge.decide.engine import Engine
from edge.decide.judgements import Judgements
from edge.decide.ladder import Ladder
from edge.decide.landmarks import Landmarks
from edge.decide.moment import MediaTime, Moment
from edge.decide.procedure import Procedure
from edge.decide.states import IN_BODY, Signal, ViewGate
from edge.decide.tracks import Track, Tracks
from edge.messages import (
    Event,
    FindingEnded,
    Judged,
    LandmarkReached,
    ProcedureEnded,
    ProcedureStarted,
    SignalChanged,
    ViewChanged,
)
from edge.types import Box, Findings, Gap, SignalState, View


class Rules:
    """Pure: equal inputs give equal events. Used from one thread."""

    def __init__(
        self,
        config: RulesConfig,
        run_id: str,
        ladder: Ladder | None = None,
        engine: Engine | None = None,
        drops: Drops | None = None,
    ) -> None:
        """`run_id` begins every procedure's id; it must differ between runs for those ids to differ.

        `ladder`: of a box that spares its board; None analyses everything, whatever it takes. `engine`: of one that
        may be building another. `drops`: of one that owes reports.
        """
        self._time = MediaTime()
        self._ladder, self._engine, self._drops = ladder, engine, drops
        self._signal = Signal()
        self._view = ViewGate(config.view)
        self._procedure = Procedure(config.procedure, run_id)
        self._tracks = Tracks(config.tracks)
        self._alerts = Alerts(config.alerts)
        self._landmarks = Landmarks(config.landmarks)
        self._judgements = Judgements(config.judgements)
        self.chronicle = Chronicle(config.procedure)

    def step(self, item: Findings | Gap) -> list[Event]:
        """One frame, or word that there is none. A gap in state LIVE (a late frame) only lets time pass."""
        at = self._time.at(item.media_ns, item.captured_ns)
        events: list[Event] = []
        events += _some(self._ladder.step(at) if self._ladder else None)
        events += self._engine.step(at) if self._engine else ()
        events += self._drops.step(at) if self._drops else ()
        events += _some(self._step_signal(at, item))
        events += _some(self._step_view(at, item))
        events += _some(self._step_procedure(at))
        events += self._step_classes(at, item)
        over = self._procedure.over(at)
        lost = self._step_tracks(at, item)
        events += self._findings(lost + self._tracks.clear() if over else lost, at)
        ended = self._close_procedure(at, events) if over else ()
        events += self._alerts.step(at, self._situation())
        events += ended
        self.chronicle.step(at, item, events, self._view)
        return events

    def confirmed_boxes(self) -> set[Box]:
        """Of the confirmed tracks that the last frame showed, in source pixels."""
        return {track.box for track in self._tracks.confirmed if track.seen}

    def best_views(self) -> dict[int, int]:
        """Of the confirmed tracks: when each was seen best, media time."""
        return {track.id: track.best_seen_ns for track in self._tracks.confirmed}

    def finish(self, captured_ns: int, media_ns: int) -> list[Event]:
        """The stream is over: tracks end, alerts clear, the procedure ends. A second call says nothing."""
        at = self._time.at(media_ns, captured_ns)
        events: list[Event] = []
        events += self._engine.step(at) if self._engine else ()
        events += self._drops.step(at) if self._drops else ()
        events += self._findings(self._tracks.clear(), at)
        ended = self._close_procedure(at, events) if self._procedure.id else ()
        events += self._alerts.close_all(at)
        events += ended
        self.chronicle.step(at, None, events, self._view)
        return events

    def _step_signal(self, at: Moment, item: Findings | Gap) -> SignalChanged | None:
        if isinstance(item, Gap):
            return self._signal.step(at, item.state, item.detail)
        return self._signal.step(at, SignalState.LIVE)

    def _step_view(self, at: Moment, item: Findings | Gap) -> ViewChanged | None:
        if isinstance(item, Gap):
            late = item.state is SignalState.LIVE
            return None if late else self._view.step(at, View.BLACK, item.state.value)
        if item.quality is None:  # no quality head: whatever is seen counts
            return self._view.step(at, View.GOOD, "")
        return self._view.step(at, item.quality.view, item.quality.reason)

    def _step_procedure(self, at: Moment) -> ProcedureStarted | None:
        view = self._view
        present = view.view in IN_BODY
        since_ns = view.since_ns if view.since_ns is not None else at.ns
        return self._procedure.step(at, present=present, since_ns=since_ns, in_doubt=view.in_body != present)

    def _step_classes(self, at: Moment, item: Findings | Gap) -> list[LandmarkReached]:
        """What is said of whole pictures counts in good views of a procedure, and nowhere else. Who was not asked has
        not been unsure."""
        if isinstance(item, Gap) or item.spared or not self._procedure.id or not self._view.good:
            return []
        self._judgements.step(item.classifications)
        return self._landmarks.step(
            at, item.classifications, procedure=self._procedure.id, started_ns=self._procedure.started_ns
        )

    def _step_tracks(self, at: Moment, item: Findings | Gap) -> list[Track]:
        """Returns the confirmed tracks that ended."""
        view = self._view
        if not self._procedure.id and not self._procedure.present:
            return self._tracks.clear()
        if isinstance(item, Gap):
            held = view.held or item.state is SignalState.LIVE
            return self._tracks.step(at, (), trusted=False, held=held, confirm=False)
        return self._tracks.step(
            at,
            item.detections if view.in_body else (),
            trusted=view.trusted,
            held=view.held,
            confirm=bool(self._procedure.id),
            detail=item.quality.detail if item.quality else None,
        )

    def _findings(self, tracks: list[Track], at: Moment) -> list[FindingEnded]:
        """Counted with the procedure that they belong to."""
        self._procedure.findings += len(tracks)
        return [track.ended(at, self._procedure.id) for track in sorted(tracks, key=lambda track: track.id)]

    def _close_procedure(self, at: Moment, events: list[Event]) -> tuple[Judged | ProcedureEnded, ...]:
        """Clears its alerts into `events`; the caller says the returned verdicts and end last."""
        events += self._alerts.close_procedure(at)
        ended = self._procedure.end(at)
        self._landmarks.close()
        return (*self._judgements.close(ended), ended)

    def _situation(self) -> Situation:
        return Situation(self._procedure.id, self._view, self._signal, self._tracks.confirmed)


def _some(event: Event | None) -> tuple[Event, ...]:
    return () if event is None else (event,)
