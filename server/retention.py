"""Once an hour: what `[retention]` wants gone is erased. A source of `server.jobs`."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from dbos import DBOS

from server import clock, erasure, jobs
from server.jobs import Job, Means
from server.store.database import Database

log = logging.getLogger(__name__)
_MOST = 500  # an hour


def due(_database: Database) -> Iterator[Job]:
    """The same job for all workers of this hour."""
    hour = clock.now()[:13]
    yield Job(f"retain:{hour}", retain, (hour,))


@jobs.workflow("retain")
def retain(hour: str) -> str:
    """What came of it, for the log of jobs."""
    return _retain(hour)


@DBOS.step(name="retain")
def _retain(hour: str) -> str:
    done = erasure.retain(Means.database, Means.config, Means.keep, _MOST)
    for one in done:
        log.info("%s %s: its time is over, erased", one.device, one.procedure)
    return f"{hour}: {len(done)} erased"
