"""`endoedge run core`: the eyes. No network."""

from __future__ import annotations

import argparse
import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from edge import clock, core, release, status
from edge.capture.thinned import Thinned
from edge.cli import assemble, safe
from edge.cli.governor import Governor
from edge.cli.mishaps import Mishaps
from edge.cli.pulse import CorePulse
from edge.cli.renewal import Renewal
from edge.cli.site import Site, read_site
from edge.cli.witnesses import Witnesses
from edge.decide.drops import Drops
from edge.decide.engine import Engine
from edge.decide.ladder import Ladder
from edge.errors import CaptureError, OutboxError
from edge.ledger import Ledger
from edge.messages import Event, LandmarkReached, ProcedureEnded, ProcedureStarted
from edge.record.spool import SpoolStatus
from edge.status import CoreStatus, Every, ModelStatus, StageStatus
from edge.systemd import Notifier
from edge.timing import Stages, settle
from edge.types import Backend, BoardReading, Findings, Gap, Model, SignalState, Source

FPS_OVER_S = 1.0
PREPARES_ON_S = 60  # how long systemd waits for the next word of a source that is still being made

log = logging.getLogger(__name__)


def serve(options: argparse.Namespace, stop: threading.Event) -> int:
    """What is wrong from the start is said in the safe state, too."""
    site = read_site(options.config)
    assemble.make_run_dir(site)
    mishaps = Mishaps(site.run_dir)  # hears the last core's last words, before they are this one's
    with safe.last_words(site.run_dir, assemble.recording_names(site)):
        assemble.check_parts(site)
        return run_core(site, stop, mishaps=mishaps)


def run_core(site: Site, stop: threading.Event, root: Path = Path("/"), mishaps: Mishaps | None = None) -> int:
    """The eyes. 0 when the source ended or somebody asked to stop; 1 when it broke (after committing everything).

    `root`: where the board's own files are.
    """
    loaded = assemble.load_model(site)
    backend = assemble.open_backend(site, loaded)  # before the pipeline plays: making a session holds the GIL
    heads = assemble.open_heads(site, loaded)
    ledger = Ledger(lambda: assemble.open_outbox(site))
    notifier = Notifier()
    assemble.prepare_source(site, lambda done, of: _still_preparing(notifier, done, of))
    source = Thinned(assemble.open_source(site, loaded.size))
    ladder, engine, drops = Ladder(), Engine(), Drops()
    rules = assemble.open_rules(site, ladder, engine, drops)
    made_by = assemble.made_by(site, loaded)
    witnesses = Witnesses(site, source, rules, made_by, drops)
    stages = Stages(core.STAGES)
    governor = assemble.open_governor(site, ladder, heads, source, stages, root)
    renewing = assemble.renewed(site, loaded, backend)  # the last to start: what fails to open leaves no build behind
    renewal = Renewal(renewing, engine) if renewing else None
    backend = renewing or backend
    pulse = CorePulse(ledger, notifier, lambda words: safe.keep_words(site.run_dir, words))
    reporter = Reporter(site, loaded, backend, source, ledger, stages, witnesses, governor, renewal, pulse, mishaps)
    settle()
    try:
        last = core.run(source, backend, heads, rules, ledger, stages, reporter, stop.is_set)
        all_safe = ledger.flush()
        reporter.write(last, finished=all_safe)
    finally:
        pulse.close()
        governor.close()
        witnesses.close()
        source.close()
        backend.close()
        ledger.close()
    if not all_safe:
        raise OutboxError(f"{ledger.waiting} events could not be committed: {ledger.fault}")
    if isinstance(last, Gap) and last.final and last.state is SignalState.FAILED:
        name = site.config.capture.get("path", "")  # who mends it has to know which recording
        raise CaptureError(f"{name}: {last.detail}" if name else last.detail)
    return 0


def _still_preparing(notifier: Notifier, done: int, of: int) -> None:
    """systemd waits on as long as this goes on (sd_notify(3)): on a slow machine a phantom takes minutes."""
    notifier.say(f"EXTEND_TIMEOUT_USEC={PREPARES_ON_S}000000", f"STATUS=renders the phantom: {done} of {of} frames")


class Reporter:
    """Writes the status file once a second. Called by the core loop, in its thread."""

    def __init__(
        self,
        site: Site,
        loaded: Model,
        backend: Backend,
        source: Source,
        ledger: Ledger,
        stages: Stages,
        witnesses: Witnesses | None = None,
        governor: Governor | None = None,
        renewal: Renewal | None = None,
        pulse: CorePulse | None = None,
        mishaps: Mishaps | None = None,
    ) -> None:
        self._pulse, self._mishaps = pulse, mishaps
        self._site, self._source, self._ledger, self._stages = site, source, ledger, stages
        self._witnesses, self._backend, self._governor, self._renewal = witnesses, backend, governor, renewal
        manifest = loaded.manifest
        self._model = ModelStatus(
            name=manifest.name,
            version=manifest.version,
            precision=loaded.precision,
            sha256=loaded.sha256,
            backend=backend.name,
        )
        self._pipeline_sha256 = assemble.pipeline_sha256(site)
        self._landmarks: list[str] = []
        self._procedure = ""
        self._started = time.monotonic()
        self._every = Every()
        self._fps_frames, self._fps_since, self._fps = 0, self._started, 0.0

    def __call__(self, moment: Gap | Findings, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, ProcedureStarted):
                self._landmarks, self._procedure = [], event.procedure
            elif isinstance(event, ProcedureEnded):
                self._procedure = ""
            elif isinstance(event, LandmarkReached):
                self._landmarks.append(event.kind)
        if self._governor is not None:
            self._governor.hear(events)
        if self._renewal is not None:
            self._renewal.hear(events)
        if self._witnesses is not None:
            self._witnesses.hear(moment, events, committed=not self._ledger.waiting)
        due = self._every.due()
        if self._mishaps is not None and (events or due):
            spool, board = self._parts()
            self._mishaps.hear(moment, events, self._ledger, spool, board)
        if due:
            self.write(moment)
        if self._pulse is not None:
            self._pulse.hear(moment)

    def write(self, moment: Gap | Findings | None, finished: bool = False) -> None:
        """A status that cannot be written is worth a line in the log, not a stop of the eyes."""
        try:
            status.write(self._site.status_path, self._status(moment, finished))
        except OSError as exc:
            log.warning("%s: cannot be written: %s", self._site.status_path, exc.strerror)

    def _status(self, moment: Gap | Findings | None, finished: bool) -> CoreStatus:
        gap = moment if isinstance(moment, Gap) else None
        findings = moment if isinstance(moment, Findings) else None
        source, (spool, board) = self._source.stats(), self._parts()
        now = time.monotonic()
        if now - self._fps_since >= FPS_OVER_S:
            self._fps = (source.frames - self._fps_frames) / (now - self._fps_since)
            self._fps_frames, self._fps_since = source.frames, now
        return CoreStatus(
            device=self._site.config.device,
            version=release.version(),
            pid=os.getpid(),
            pipeline=self._site.pipeline.name,
            model=self._model,
            state=gap.state if gap else SignalState.LIVE if moment else SignalState.STARTING,
            detail=gap.detail if gap else "",
            view=findings.quality.view.value if findings and findings.quality else "",
            detections=len(findings.detections) if findings else 0,
            best_score=round(max((found.score for found in findings.detections), default=0.0), 3) if findings else 0.0,
            classes={said.head: said.label for said in findings.classifications} if findings else {},
            landmarks=self._landmarks,
            updated_ns=time.monotonic_ns(),
            clock=clock.read().status,
            uptime_s=round(now - self._started, 3),
            fps=round(self._fps, 2),
            source=source,
            copies=status.copies(source, self._backend),
            stages={name: self._stage(name) for name in self._stages.names},
            events=self._ledger.events,
            alerts=self._ledger.alerts,
            waiting=self._ledger.waiting,
            fault=self._ledger.fault,
            spool=spool,
            effort=self._governor.effort if self._governor else "full",
            board=board,
            pipeline_sha256=self._pipeline_sha256,
            disk=status.disk(self._site.outbox_path.parent),
            troubles=self._mishaps.troubles if self._mishaps else (),
            procedure=self._procedure,
            finished=finished,
        )

    def _parts(self) -> tuple[SpoolStatus | None, BoardReading | None]:
        """What those say of themselves that not every core has."""
        return self._witnesses.spool if self._witnesses else None, self._governor.board if self._governor else None

    def _stage(self, name: str) -> StageStatus:
        p50, p99 = self._stages.percentiles_ms(name)
        return StageStatus(p50_ms=p50, p99_ms=p99)
