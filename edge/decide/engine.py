"""What is told of an engine that is built beside the one that serves: begin, end and failure, and how far, at a pace
that suits a queue. Pure.

TensorRT counts hundreds of steps, and every event is kept on the disk until it is delivered.
"""

from __future__ import annotations

from typing import NamedTuple

from edge.decide.moment import Moment
from edge.messages import EngineChanged, EngineState

EVERY_NS = 10_000_000_000  # so long nothing is said of a step
FURTHER = 0.1  # and it must be so much further within its phase, or of another phase


class News(NamedTuple):
    """See `messages.EngineChanged`."""

    state: EngineState
    detail: str
    share: float | None = None


class Engine:
    """Time comes with the moments; whoever hears the build adds to `news`, oldest first."""

    def __init__(self) -> None:
        self.news: list[News] = []
        self._newest: News | None = None  # how far it is, not said yet
        self._said: News | None = None
        self._said_ns = 0

    def step(self, at: Moment) -> list[EngineChanged]:
        """Runs on `captured_ns`: a build takes the world's time, whatever the speed of the stream."""
        events: list[EngineChanged] = []
        for news in self.news:
            if news.state == "building":
                self._newest = news
            else:  # what was on the way to this is not worth saying any more
                self._newest = None
                events.append(self._say(news, at))
        self.news.clear()
        if self._newest is not None and self._due(self._newest, at):
            events.append(self._say(self._newest, at))
            self._newest = None
        return events

    def _due(self, news: News, at: Moment) -> bool:
        said = self._said
        if said is None:
            return True
        further = news.detail != said.detail or round((news.share or 0.0) - (said.share or 0.0), 3) >= FURTHER
        return further and at.captured_ns - self._said_ns >= EVERY_NS

    def _say(self, news: News, at: Moment) -> EngineChanged:
        self._said, self._said_ns = news, at.captured_ns
        return EngineChanged(
            state=news.state, detail=news.detail, share=news.share, captured_ns=at.captured_ns, media_ns=at.ns
        )
