"""How fast pictures come."""

from __future__ import annotations

from edge.capture import gst
from edge.capture.evidence import S


class Rate:
    """Pictures a second that reach the pipeline's end, taken or not; 0 until it has run for a second."""

    def __init__(self) -> None:
        self._since_ns = self._count = 0
        self._value = 0.0

    def at(self, now_ns: int, pipeline: gst.Pipeline | None) -> float:
        if pipeline is None:
            return 0.0
        if self._since_ns == 0:
            self._since_ns, self._count = now_ns, pipeline.received()
        elif now_ns - self._since_ns >= S:
            count = pipeline.received()
            self._value = (count - self._count) * S / (now_ns - self._since_ns)
            self._since_ns, self._count = now_ns, count
        return self._value
