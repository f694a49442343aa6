"""Time for the rules: it comes with the frame, and it never runs backwards."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """The frame a rule is looking at. `captured_ns` is only passed on; every rule reads `ns`."""

    ns: int  # media time, never falling
    captured_ns: int


class MediaTime:
    """Makes media time monotonic.

    A looped or rewound clip steps back. The rules' time then stands still for that one frame and runs on from there
    with the stream's own pace, so that holds and limits keep their length; event times follow the rules' time.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._ahead = 0

    def at(self, media_ns: int, captured_ns: int) -> Moment:
        ns = media_ns + self._ahead
        if self._last is not None and ns < self._last:
            self._ahead += self._last - ns
            ns = self._last
        self._last = ns
        return Moment(ns, captured_ns)


def to_ns(seconds: float) -> int:
    return round(seconds * 1e9)
