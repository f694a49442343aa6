"""Who hears of each moment besides the outbox: key frames, clips and the procedure's record, and the display. None can
hold up the loop."""

from __future__ import annotations

from collections.abc import Sequence

from edge.capture import gst
from edge.cli.site import Site
from edge.decide.drops import Drops
from edge.decide.rules import Rules
from edge.display import wire
from edge.display.teller import Teller
from edge.messages import Event, ProcedureDropped
from edge.procedure import Made
from edge.record.recorder import Recorder
from edge.record.records import Records
from edge.record.spool import Spool, SpoolStatus
from edge.types import Findings, Gap, RecordingSource, Ring

KEY_FRAME_REACH_S = 10.0  # how long a track's best view may lie back when it ends
DISPLAY_RATE = 25.0  # pictures a second


class Witnesses:
    """Owner: the core loop's thread. The source begins to keep pictures where anybody wants them."""

    def __init__(self, site: Site, source: RecordingSource, rules: Rules, made_by: Made, drops: Drops) -> None:
        self._rules, self._drops = rules, drops
        self._ring = _keep(site, source)
        self._spool: Spool | None = None
        self._recorder: Recorder | None = None
        self._records: Records | None = None
        self._display: Teller | None = None
        self._told: set[str] = set()  # procedures whose loss is an event that may not be committed yet
        record, owed, device = site.config.record, site.uplink.reports is not None, site.config.device
        if record.key_frames or record.clips or owed:
            self._spool = Spool(site.spool_path, record.max_mib * 2**20, owed=owed, keep_sent=record.keep_sent)
            self._records = Records(rules.chronicle, device, made_by, self._spool)
            if self._ring is not None and (record.key_frames or record.clips):
                self._recorder = Recorder(record, device, self._ring, self._spool, gst.write_film)
        if site.config.display.enabled:
            self._display = Teller(wire.Sender(site.run_dir / wire.NAME))

    @property
    def spool(self) -> SpoolStatus | None:
        """None where nothing is kept."""
        return self._spool.status() if self._spool else None

    def hear(self, moment: Gap | Findings, events: Sequence[Event], *, committed: bool) -> None:
        """`committed`: all events that were ever told of are in the outbox."""
        if self._recorder is not None:
            self._recorder.step(moment, events, self._rules.best_views())
        if self._records is not None:
            self._records.step(moment, events)
        if self._spool is not None:
            self._lose(self._spool, events, committed)
        if self._display is not None:
            newest = self._ring.newest() if self._ring else None
            self._display.step(moment, events, newest, self._rules.confirmed_boxes())

    def _lose(self, spool: Spool, events: Sequence[Event], committed: bool) -> None:
        """What the spool had to give up becomes an event; the folder is its memory until that is committed."""
        if tombs := spool.tombs():
            self._drops.news |= tombs
        self._told |= {event.procedure for event in events if isinstance(event, ProcedureDropped)}
        while committed and self._told:
            spool.bury(self._told.pop())

    def close(self) -> None:
        if self._recorder is not None and self._records is not None:
            self._recorder.finish(self._records.unheard)
        if self._records is not None:
            self._records.close()
        if self._spool is not None:
            self._spool.close()
        if self._display is not None:
            self._display.close()


def _keep(site: Site, source: RecordingSource) -> Ring | None:
    record, display = site.config.record, site.config.display.enabled
    if not (record.key_frames or record.clips or display):
        return None
    clip_s = record.before_s + record.after_s + 1.0 if record.clips else 0.0
    return source.keep_stills(max(record.rate, DISPLAY_RATE if display else 0.0), max(KEY_FRAME_REACH_S, clip_s))
