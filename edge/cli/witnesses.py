"""Who hears of each moment besides the outbox: key frames and clips, and the display. None can hold up the loop."""

from __future__ import annotations

from collections.abc import Sequence

from edge.capture import gst
from edge.cli.site import Site
from edge.decide.rules import Rules
from edge.display import wire
from edge.display.teller import Teller
from edge.messages import Event
from edge.record.recorder import Recorder
from edge.record.spool import Spool, SpoolStatus
from edge.types import Findings, Gap, RecordingSource, Ring

KEY_FRAME_REACH_S = 10.0  # how long a track's best view may lie back when it ends
DISPLAY_RATE = 25.0  # pictures a second


class Witnesses:
    """Owner: the core loop's thread. The source begins to keep pictures where anybody wants them."""

    def __init__(self, site: Site, source: RecordingSource, rules: Rules) -> None:
        self._rules = rules
        self._ring = _keep(site, source)
        self._recorder: Recorder | None = None
        self._display: Teller | None = None
        record = site.config.record
        if self._ring is not None and (record.key_frames or record.clips):
            spool = Spool(site.spool_path, record.max_mib * 2**20)
            self._recorder = Recorder(record, site.config.device, self._ring, spool, gst.write_film)
        if site.config.display.enabled:
            self._display = Teller(wire.Sender(site.run_dir / wire.NAME))

    @property
    def spool(self) -> SpoolStatus | None:
        """None where nothing is kept."""
        return self._recorder.status if self._recorder else None

    def hear(self, moment: Gap | Findings, events: Sequence[Event]) -> None:
        if self._recorder is not None:
            self._recorder.step(moment, events)
        if self._display is not None:
            newest = self._ring.newest() if self._ring else None
            self._display.step(moment, events, newest, self._rules.confirmed_boxes())

    def close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        if self._display is not None:
            self._display.close()


def _keep(site: Site, source: RecordingSource) -> Ring | None:
    record, display = site.config.record, site.config.display.enabled
    if not (record.key_frames or record.clips or display):
        return None
    clip_s = record.before_s + record.after_s + 1.0 if record.clips else 0.0
    return source.keep_stills(max(record.rate, DISPLAY_RATE if display else 0.0), max(KEY_FRAME_REACH_S, clip_s))
