"""A worker: what is still to be done is read from the database, and done durably (DBOS).

A record without a report is a job, and so is a delivery that waits: nobody has to put them into a queue, so none can be
forgotten between two databases. DBOS runs each under an id of its own, goes on after the last step that was done when a
worker was killed, and hands to nobody twice what is in hand. Every step may be done again without another effect.

What fails is tried again for ever, ever more rarely. What takes its worker along is given up after `RECOVERIES_MOST`.
"""

from __future__ import annotations

import functools
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, ParamSpec, TypeVar

from dbos import DBOS, DBOSConfig, Queue, SetWorkflowID, WorkflowStatus, error
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from server.clock import now
from server.config import Config
from server.errors import ServerError
from server.keep import Keep
from server.settled import settle
from server.store.database import Database
from server.store.tables import attempts
from server.worker import Seats, seated

log = logging.getLogger(__name__)

LOOK_S = 0.5  # between two looks for what is to be done
SWEEP_S = 5.0  # ... for jobs that nobody carries on
FINISH_WITHIN_S = 20  # what is in hand, when a worker is told to end
QUEUES = {"drafts": 4, "words": 2, "pacs": 2, "stow": 2, "fhir": 2}
"""A worker's jobs at once: neither a model that is slow nor a PACS that is away holds up a draft. "words" is
`draft.at_once`."""
TRIES_MOST = 5  # a part that can be done without is left out when its job was begun so often without an end
RECOVERIES_MOST = 10  # a job that took so many workers along is given up
_FORM = "1"  # of the workflows' steps; what another form began is begun anew by this one
_POLL_S = 0.5  # each queue asks so often, in each worker
_ASKED_AGAIN_S = 60.0
_ASKED_MOST = 500  # new ones in one look
_LOST_S = 60.0  # a job that is said to be in our hands, and is not
_AGAIN_MIN_S, _AGAIN_MAX_S = 60.0, 3600.0
_TIDY_S, _TIDY_AFTER_S, _TIDY_AT_ONCE = 60.0, 86_400.0, 1000
_CONNECTIONS = 6

P = ParamSpec("P")
R = TypeVar("R")


class Job(NamedTuple):
    id: str  # the same for the same work, for ever
    run: Callable[..., Any]  # a `workflow`
    arguments: tuple[Any, ...]
    queue: str = "drafts"  # of QUEUES


class Means:
    """What the workflows work with; set before a worker begins. DBOS's functions are global, and so is this."""

    config: Config
    database: Database
    keep: Keep


Source = Callable[[Database], Iterable[Job]]
"""Looks for what is to be done."""

_running: set[str] = set()  # ids, in this process
_queues: dict[str, Queue] = {}


def workflow(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A job's function: steps in a fixed order. Nothing outside them may decide which one comes next, or a job that is
    carried on finds another step's result than it expects."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            here = DBOS.workflow_id or ""
            _running.add(here)
            try:
                return function(*args, **kwargs)
            finally:
                _running.discard(here)

        decorated: Callable[P, R] = DBOS.workflow(name=name, max_recovery_attempts=RECOVERIES_MOST)(run)
        return decorated

    return decorate


def enqueue(job: Job) -> None:
    """In a workflow: another job, once, however often the workflow is carried on."""
    with SetWorkflowID(f"{job.id}@{_FORM}"):
        _queues[job.queue].enqueue(job.run, *job.arguments)


def work(config: Config, database: Database, keep: Keep, sources: Iterable[Source], stop: threading.Event) -> None:
    """Until `stop`. Once a process, which ends after it (`os._exit`): a step that hangs is left behind. Raises
    ServerError when it lost its seat: its jobs are another's then."""
    Means.config, Means.database, Means.keep = config, database, keep
    settle()
    with seated(database, config.folder / "workers") as (seats, number):
        log.info("worker %d on %s", number, database.name)
        DBOS(config=_settings(config, database, number))
        DBOS.launch()
        _queues.update({name: _queue(name, most) for name, most in (QUEUES | {"words": config.draft.at_once}).items()})
        Look(database, tuple(sources), seats, number).until(stop)
        DBOS.destroy(workflow_completion_timeout_sec=FINISH_WITHIN_S)


def _settings(config: Config, database: Database, number: int) -> DBOSConfig:
    file = config.folder / "jobs.db"
    if database.is_sqlite:
        with sqlite3.connect(file) as made:  # readers and a writer beside each other; the file remembers it
            made.execute("PRAGMA journal_mode=WAL")
        made.close()
    return {
        "name": "endoedge-server",
        "system_database_url": config.database or f"sqlite:///{file}",
        "sys_db_pool_size": _CONNECTIONS,
        "executor_id": str(number),
        "application_version": _FORM,
        "log_level": "WARNING",
        "use_listen_notify": False,
    }


def _queue(name: str, most: int) -> Queue:
    return DBOS.register_queue(name, worker_concurrency=most, polling_interval_sec=_POLL_S)


class Look:
    """One thread's rounds: is the seat still ours, what is to be done, whose jobs are left lying."""

    def __init__(self, database: Database, sources: tuple[Source, ...], seats: Seats, number: int) -> None:
        self._database, self._sources = database, sources
        self._seats, self._number = seats, number
        self._asked: dict[str, float] = {}
        self._sweep_s = self._tidy_s = 0.0

    def until(self, stop: threading.Event) -> None:
        """Raises ServerError: the seat is lost."""
        while not stop.wait(LOOK_S):
            self._seats.proven()
            try:
                self._round(time.monotonic())
            except (ServerError, SQLAlchemyError, error.DBOSException) as exc:
                log.error("%s", exc)

    def _round(self, now_s: float) -> None:
        self._asked = {job: at_s for job, at_s in self._asked.items() if now_s - at_s < _ASKED_AGAIN_S}
        due = (job for source in self._sources for job in source(self._database))
        for job in islice((job for job in due if job.id not in self._asked), _ASKED_MOST):
            self._asked[job.id] = now_s
            enqueue(job)
        if now_s >= self._sweep_s:
            self._sweep_s = now_s + SWEEP_S
            self._inherit()
            self._again()
        if now_s >= self._tidy_s:
            self._tidy_s = now_s + _TIDY_S
            _tidy()

    def _inherit(self) -> None:
        """Jobs in hand of a worker that is gone, or that ours never began, go back into their queue."""
        pending = list(_jobs("PENDING"))
        for one in pending:
            if one.executor_id == str(self._number) and one.workflow_id not in _running and _since(one) > _LOST_S:
                log.warning("job %s was taken and not begun: it goes back", one.workflow_id)
                DBOS.resume_workflow(one.workflow_id, queue_name=one.queue_name)
        for number in {int(one.executor_id) for one in pending if one.executor_id and one.executor_id.isdecimal()}:
            if number == self._number or not self._seats.take(number):
                continue
            try:  # looked for anew: nobody else inherits it while the seat is ours
                for handle in DBOS._recover_pending_workflows([str(number)]):
                    log.warning("job %s goes on: its worker %d is gone", handle.get_workflow_id(), number)
            finally:
                self._seats.leave(number)

    def _again(self) -> None:
        """What failed goes on at the step that failed, or else anew. The longer it fails, the longer it waits."""
        for one in _jobs("ERROR"):
            failing_s = ((one.updated_at or 0) - (one.created_at or 0)) / 1000
            if _since(one) < min(max(failing_s / 2, _AGAIN_MIN_S), _AGAIN_MAX_S):
                continue
            steps = DBOS.list_workflow_steps(one.workflow_id)
            start = min((step["function_id"] for step in steps if step["error"] is not None), default=1)
            log.warning("job %s failed and is tried again", one.workflow_id)
            try:
                DBOS.rewind_workflow(one.workflow_id, start_step=start, queue_name=one.queue_name)
            except error.DBOSException as exc:  # another worker was faster
                log.info("job %s: %s", one.workflow_id, exc)


def _jobs(status: str) -> Iterator[WorkflowStatus]:
    """Ours alone: DBOS runs some of its own."""
    found = DBOS.list_workflows(status=status, app_version=_FORM, load_input=False, load_output=False)
    return (one for one in found if one.queue_name in QUEUES)


def _since(one: WorkflowStatus) -> float:
    """Its last change, s ago."""
    return time.time() - (one.updated_at or 0) / 1000


def _tidy() -> None:
    """What is done is forgotten after a day: the database knows by itself what is still to be done."""
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - _TIDY_AFTER_S))
    done = DBOS.list_workflows(
        status="SUCCESS", completed_before=before, limit=_TIDY_AT_ONCE, load_input=False, load_output=False
    )
    if done:
        DBOS.delete_workflows([one.workflow_id for one in done])


def begun(database: Database, job: str) -> int:
    """How often this job was begun, this time included."""
    with database.write() as connection:
        insert = (sqlite if database.is_sqlite else postgresql).insert(attempts).values(job=job, tries=1, at=now())
        again = {"tries": attempts.c.tries + 1, "at": now()}
        connection.execute(insert.on_conflict_do_update(index_elements=["job"], set_=again))
        return int(connection.execute(select(attempts.c.tries).where(attempts.c.job == job)).scalar_one())
