"""When the picture was not of the inside of a body: what it showed then, a room and who is in it, is never kept."""

from __future__ import annotations

import math
from collections.abc import Iterable

from edge.messages import Event, ViewChanged
from edge.types import Findings, Gap, View

KEPT_NS = 600_000_000_000  # longer than any ring remembers


class Outside:
    """Asked of pictures that were taken between two frames, and of which nobody judged: each stretch begins after the
    last frame from inside and ends before the next one. Owner: the recorder."""

    def __init__(self) -> None:
        self._ended: list[tuple[float, float]] = []  # media time
        self._since_ns: float | None = None  # of the stretch that goes on
        self._inside_ns = -math.inf  # the last frame from inside
        self._believed = False  # one frame of a room that looks like a body does not make it one

    def step(self, moment: Gap | Findings, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, ViewChanged):
                self._believed = event.view is View.OUT_OF_BODY
        if isinstance(moment, Gap):
            return
        if self._believed or (moment.quality is not None and moment.quality.view is View.OUT_OF_BODY):
            if self._since_ns is None:
                self._since_ns = self._inside_ns
            return
        if self._since_ns is not None:
            self._ended.append((self._since_ns, moment.media_ns))
            self._since_ns = None
            self._ended = [span for span in self._ended if span[1] >= moment.media_ns - KEPT_NS]
        self._inside_ns = moment.media_ns

    def __contains__(self, media_ns: int) -> bool:
        going_on = self._since_ns is not None and media_ns > self._since_ns
        return going_on or any(first < media_ns < last for first, last in self._ended)
