"""A source of which only every n-th frame is handed out, to spare the board."""

from __future__ import annotations

import time

import msgspec

from edge.types import Frame, Gap, RecordingSource, Ring, SourceStats


class Thinned:
    """Any source, with a rate. Owner: the loop's thread. Gaps all come through; stills are kept as before."""

    def __init__(self, source: RecordingSource) -> None:
        self._source = source
        self._turn = 0
        self._spared = 0
        self.every = 1
        """Every so many-th frame is handed out; the others are given back at once."""
        self.waited_ns = 0

    def next(self, timeout_s: float) -> Frame | Gap:
        """See `types.Source`. What comes too late for the timeout is the source's own word for it."""
        deadline = time.monotonic() + timeout_s
        self.waited_ns = 0
        while True:
            item = self._source.next(max(0.0, deadline - time.monotonic()))
            self.waited_ns += self._source.waited_ns
            self._turn += isinstance(item, Frame)
            if isinstance(item, Gap) or self._turn % self.every == 0:
                return item
            item.release()
            self._spared += 1

    def stats(self) -> SourceStats:
        """Frames that were let go count as dropped, not as handed out."""
        stats = self._source.stats()
        return msgspec.structs.replace(
            stats, frames=stats.frames - self._spared, dropped=stats.dropped + self._spared, spared=self._spared
        )

    def describe(self) -> str:
        return self._source.describe()

    def keep_stills(self, rate: float, seconds: float) -> Ring:
        return self._source.keep_stills(rate, seconds)

    def close(self) -> None:
        self._source.close()
