"""The signal is judged by tiny pictures where frames stay on a GPU: nothing of a frame itself may come to the host.

The pipeline makes one of every frame (`look` in profiles.toml), with the frame's own time. A frame is worth what its
tiny picture is; one that has none is not used.
"""

from __future__ import annotations

from edge.capture import field as fields
from edge.capture import gst
from edge.capture.evidence import Look
from edge.capture.look import Looker
from edge.capture.profiles import LOOK_SIZE
from edge.memory import host
from edge.types import Field

WITHIN_S = 0.05  # the tiny picture is there before its frame, unless the machine is far behind


class Glance:
    """Owner: the thread that pulls."""

    def __init__(self) -> None:
        self._looker = Looker(*LOOK_SIZE, step=1)
        self._newest: tuple[int, Look] | None = None  # running time, what it was
        self.count = 0

    def begin(self, field: Field | None) -> None:
        """A new pipeline, for that field."""
        self._newest = None
        self._keep = fields.keep_mask(field or fields.whole(*LOOK_SIZE), *LOOK_SIZE)

    def look(self, pipeline: gst.Pipeline, running_ns: int) -> Look | None:
        """What the frame of that running time is (-1, unknown: the newest one); None when nobody can say."""
        while self._newest is None or running_ns < 0 or self._newest[0] < running_ns:
            small = pipeline.pull(0 if running_ns < 0 else WITHIN_S, "look")
            if small is None:
                break
            self.count += 1
            host.blacken(small.image, self._keep)
            self._newest = small.running_ns, self._looker.look(small.image)
            small.release()
        if self._newest is None or (running_ns >= 0 and self._newest[0] != running_ns):
            return None
        return self._newest[1]
