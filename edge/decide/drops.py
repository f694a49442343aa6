"""Procedures that made room in the spool before a report server had them: each is told once in a run. Pure."""

from __future__ import annotations

from edge.decide.moment import Moment
from edge.messages import ProcedureDropped


class Drops:
    """Whoever removes them adds to `news`; time comes with the moments."""

    def __init__(self) -> None:
        self.news: dict[str, str] = {}  # procedure → why
        self._told: set[str] = set()

    def step(self, at: Moment) -> list[ProcedureDropped]:
        fresh = {procedure: reason for procedure, reason in self.news.items() if procedure not in self._told}
        self._told |= fresh.keys()
        self.news = {}
        return [
            ProcedureDropped(procedure=procedure, reason=reason, captured_ns=at.captured_ns, media_ns=at.ns)
            for procedure, reason in fresh.items()
        ]
