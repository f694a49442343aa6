"""A worker: what is still to be done is read from the database, and done durably (DBOS).

A record without a report is a job, and so is a delivery that waits: nobody has to put them into a queue, so none can be
forgotten between two databases. DBOS runs each under an id of its own, goes on after the last step that was done when a
worker was killed, and hands to nobody twice what is in hand. Every step may be done again without another effect.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from dbos import DBOS, DBOSConfig, Queue, SetWorkflowID
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from edge import __version__
from server.clock import now
from server.config import Config
from server.errors import ServerError
from server.keep import Keep
from server.store.database import Database
from server.store.tables import attempts
from server.worker import Seats, seated

log = logging.getLogger(__name__)

LOOK_S = 0.5  # between two looks for what is to be done
HEIRS_S = 5.0  # ... for jobs whose worker is gone
FINISH_WITHIN_S = 20  # what is in hand, when a worker is told to end
AT_ONCE = 4  # jobs of one worker
TRIES_MOST = 5  # a job that was begun so often without an end is given up
_FORM = "1"  # of the workflows; another one is not carried on by this program
_ASKED_AGAIN_S = 60.0

queue = Queue("jobs", worker_concurrency=AT_ONCE, polling_interval_sec=0.2)


class Job(NamedTuple):
    id: str  # the same for the same work, for ever
    run: Callable[..., Any]  # a DBOS workflow
    arguments: tuple[Any, ...]


class Means:
    """What the workflows work with; set before a worker begins. DBOS's functions are global, and so is this."""

    config: Config
    database: Database
    keep: Keep


Source = Callable[[Database], Iterable[Job]]
"""Looks for what is to be done."""


def work(config: Config, database: Database, keep: Keep, sources: Iterable[Source], stop: threading.Event) -> None:
    """Until `stop`. One a process. Raises ServerError when it lost its seat: its jobs are another's then."""
    Means.config, Means.database, Means.keep = config, database, keep
    with seated(database, config.folder / "workers") as (seats, number):
        log.info("worker %d on %s", number, database.name)
        DBOS(config=_settings(config, number))
        DBOS.launch()
        try:
            _look(database, sources, seats, number, stop)
        finally:
            DBOS.destroy(workflow_completion_timeout_sec=FINISH_WITHIN_S)


def _settings(config: Config, number: int) -> DBOSConfig:
    return {
        "name": "endoedge-server",
        "system_database_url": config.database or f"sqlite:///{config.folder / 'jobs.db'}",
        "executor_id": str(number),
        "application_version": _FORM,
        "log_level": "WARNING",
    }


def _look(database: Database, sources: Iterable[Source], seats: Seats, number: int, stop: threading.Event) -> None:
    asked: dict[str, float] = {}
    heirs_s = 0.0
    while not stop.wait(LOOK_S):
        try:
            seats.proven()
        except SQLAlchemyError as exc:
            raise ServerError(f"database {database.name}: the connection that holds worker {number} is lost") from exc
        try:
            moment = time.monotonic()
            asked = {job: at_s for job, at_s in asked.items() if moment - at_s < _ASKED_AGAIN_S}
            for job in (job for source in sources for job in source(database)):
                if job.id not in asked:
                    asked[job.id] = moment
                    with SetWorkflowID(job.id):
                        queue.enqueue(job.run, *job.arguments)
            if moment >= heirs_s:
                heirs_s = moment + HEIRS_S
                _inherit(seats, number)
        except (ServerError, SQLAlchemyError) as exc:
            log.error("%s", exc)


def _inherit(seats: Seats, ours: int) -> None:
    """Jobs in hand of a worker that is gone are put back into the queue."""
    pending = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
    for number in sorted({int(one.executor_id) for one in pending if (one.executor_id or "").isdecimal()} - {ours}):
        if not seats.take(number):
            continue
        try:
            for one in pending:
                if one.executor_id == str(number):
                    log.warning("job %s goes on here: worker %d is gone", one.workflow_id, number)
                    DBOS.resume_workflow(one.workflow_id, queue_name=queue.name)
        finally:
            seats.leave(number)


def begun(database: Database, job: str) -> int:
    """How often this job was begun, this time included."""
    with database.write() as connection:
        insert = (sqlite if database.is_sqlite else postgresql).insert(attempts).values(job=job, tries=1, at=now())
        again = {"tries": attempts.c.tries + 1, "at": now()}
        connection.execute(insert.on_conflict_do_update(index_elements=["job"], set_=again))
        return int(connection.execute(select(attempts.c.tries).where(attempts.c.job == job)).scalar_one())


def software() -> str:
    return f"endoedge-server {__version__}"
