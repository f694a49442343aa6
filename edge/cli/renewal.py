"""What connects an engine that is built beside the service, the rules and the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from edge.cli.words import say
from edge.decide.engine import Engine, News
from edge.infer.engine_build import Begun, Done, Failed, Happening, Renewing, Serving, Step
from edge.messages import EngineChanged, Event

log = logging.getLogger(__name__)


class Renewal:
    """Owner: the core loop's thread."""

    def __init__(self, renewing: Renewing, engine: Engine) -> None:
        self._renewing, self._engine = renewing, engine

    def hear(self, events: Sequence[Event]) -> None:
        """Of every moment, after its events were committed: also without a signal a build goes on."""
        for event in events:
            if isinstance(event, EngineChanged):
                log.log(logging.WARNING if event.state == "failed" else logging.INFO, "%s", say(event))
        self._engine.news += map(news, self._renewing.poll())


def news(happening: Begun | Happening | Serving) -> News:
    if isinstance(happening, Begun):
        return News("begun", happening.reason)
    if isinstance(happening, Step):
        return News("building", happening.phase, round(happening.done / max(happening.total, 1), 3))
    if isinstance(happening, Failed):
        return News("failed", happening.reason)
    return News("built" if isinstance(happening, Done) else "serving", happening.engine)
