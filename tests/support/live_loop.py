"""A loop over a `LiveSource`, the feeds that it gets, and an input with a cable to pull.

The machine may be busy: tests wait for states with long deadlines, and assert on what came, never on how fast.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from edge.capture import gst
from edge.capture.evidence import Link
from edge.capture.inputs import Feed, LiveConfig, Reading, Stream
from edge.capture.live import LiveSource
from edge.types import Frame, Gap, SignalState

SIZE = (64, 64)
PATIENCE_S = 40
RAW = "video/x-raw,width=160,height=128,framerate=25/1"
SNOW = f"videotestsrc is-live=true pattern=snow ! {RAW}"


class Loop:
    """Pulls, releases, and remembers what came."""

    def __init__(self, source: LiveSource) -> None:
        self.source = source
        self.states: list[SignalState] = []
        self.details: list[str] = []
        self.frames = 0
        self.last: np.ndarray | None = None
        self.media_ns: list[int] = []

    def step(self) -> Frame | Gap:
        item = self.source.next(0.1)
        self.media_ns.append(item.media_ns)
        if isinstance(item, Gap):
            if not self.states or self.states[-1] is not item.state:
                self.states.append(item.state)
                self.details.append(item.detail)
        else:
            if not self.states or self.states[-1] is not SignalState.LIVE:
                self.states.append(SignalState.LIVE)
                self.details.append("")
            self.frames += 1
            self.last = np.array(item.image)
            item.release()
        return item

    def until(self, reached: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            self.step()
            assert time.monotonic() < deadline, f"{self.states} {self.details[-1:]} {self.source.stats()}"

    def until_state(self, state: SignalState) -> None:
        begun = len(self.states)
        self.until(lambda: state in self.states[begun:])

    def until_frames(self, count: int) -> None:
        wanted = self.frames + count
        self.until(lambda: self.frames >= wanted)


class Cable:
    """An input whose driver knows everything, with a format that can be changed, and a cable to pull."""

    name = "a cable"
    first_s = 20.0

    def __init__(self, size: tuple[int, int] = (160, 128)) -> None:
        self.link, self.size, self.opened, self.closed = Link.LOCKED, size, 0, False

    @property
    def format(self) -> str:
        return f"{self.size[0]}x{self.size[1]}p25"

    def read(self, pipeline: gst.Pipeline | None) -> Reading:
        return Reading(self.link, self.format if self.link is Link.LOCKED else "")

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def open(self) -> Feed:
        self.opened += 1
        caps = f"video/x-raw,width={self.size[0]},height={self.size[1]},framerate=25/1"
        return Feed(f"videotestsrc is-live=true pattern=snow ! {caps}", {}, self.format, 25.0)

    def close(self) -> None:
        self.closed = True


def opened(what: str | Cable, fps: float = 0.0, **config: object) -> Loop:
    """Over a feed's description, or an input."""
    one = Stream("a test", Feed(what, {}, "", fps), first_s=20.0) if isinstance(what, str) else what
    return Loop(LiveSource(one, LiveConfig(**{"field": "whole", **config}), SIZE))  # type: ignore[arg-type]
