"""From a record to its draft: the template first, which is always right, then a language model's wording where one is
configured, checked. A durable workflow: killed at any step it goes on at that step, and a step done twice does no more
than once, since version 1 of a report can be written once and version 2 only after it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator

import msgspec
from dbos import DBOS
from msgspec.structs import replace

from server import deliveries, jobs, reports
from server.config import Config
from server.errors import RefusedError
from server.jobs import Job, Means
from server.report import Report
from server.reports import MACHINE, Key
from server.store.database import Database
from server.words import checklist, lexicon, template, wording
from server.words.endpoint import Endpoint

log = logging.getLogger(__name__)
_AT_ONCE = 100  # looked for at once


class Due:
    """Records without a report: oldest first, a page at a look, round and round. One that cannot be drafted hides none
    that came after it."""

    def __init__(self) -> None:
        self._after: reports.Waiting | None = None

    def __call__(self, database: Database) -> Iterator[Job]:
        with database.read() as connection:
            found = reports.undrafted(connection, _AT_ONCE, self._after)
        self._after = found[-1] if len(found) == _AT_ONCE else None
        keys = (one.key for one in found)
        yield from (Job(f"draft:{key.device}/{key.procedure}/{key.revision}", draft, tuple(key)) for key in keys)


def ready(config: Config) -> None:
    """Raises EdgeError for what would make every draft fail: a language without words, a key that cannot be read."""
    lexicon.of(config.language)
    _lists()
    if config.draft.url:
        Endpoint(config.draft)


@functools.cache
def _lists() -> checklist.Lists:
    return checklist.load()


@jobs.workflow("draft")
def draft(device: str, procedure: str, revision: int) -> str:
    """What came of it, for the log of jobs. The wording is a job of its own: a model that is slow, or has many to
    word, holds up no template."""
    if not _template(device, procedure, revision):
        return "it is somebody's already, or was erased"
    if Means.config.draft.url:
        key = (device, procedure, revision)
        jobs.enqueue(Job(f"word:{device}/{procedure}/{revision}", word, key, "words"))
    return "template"


@jobs.workflow("word")
def word(device: str, procedure: str, revision: int) -> str:
    """The same, of a report that the template has drafted."""
    tries = jobs.begun(Means.database, f"word:{device}/{procedure}/{revision}")
    worded = _word(device, procedure, revision, tries)
    return _keep_wording(device, procedure, revision, worded)


@DBOS.step(name="template")
def _template(device: str, procedure: str, revision: int) -> bool:
    """False: a person has changed it already, or the procedure was erased."""
    key = Key(device, procedure, revision)
    with Means.database.write() as connection:
        found = reports.newest(connection, key)
        if found is not None:
            return found.what == "drafted"
        record = reports.record(connection, key)
        if record is None:
            return False
        made = template.draft(record, Means.config.language, _lists())
        number = reports.append(connection, made, after=0, what="drafted", author=MACHINE)
        if not Means.config.draft.url:
            deliveries.owe(connection, Means.config, key, number, made)
        return True


@DBOS.step(name="word")
def _word(device: str, procedure: str, revision: int, tries: int) -> str:
    """The report as JSON: worded, or the template's with the reason why it had to do; "" it was erased. That it was
    begun too often is for this step to say: what is decided outside of steps is not the same when they are done again.
    """
    key = Key(device, procedure, revision)
    with Means.database.read() as connection:
        found, record = reports.newest(connection, key), reports.record(connection, key)
    if found is None or record is None:
        return ""
    if tries > jobs.TRIES_MOST:
        log.error("report of %s: its wording was begun %d times without an end; the template stands", key, tries - 1)
        ended = replace(found.report.drafted, fallback="it never ended")
        return msgspec.json.encode(replace(found.report, drafted=ended)).decode()
    worded = wording.word(record, found.report, Means.keep.get, Endpoint(Means.config.draft), _lists())
    if worded.drafted.fallback:
        log.warning("report of %s: the template had to do: %s", key, worded.drafted.fallback)
    return msgspec.json.encode(worded).decode()


@DBOS.step(name="keep wording")
def _keep_wording(device: str, procedure: str, revision: int, worded: str) -> str:
    if not worded:
        return "it was erased"
    report = msgspec.json.decode(worded, type=Report)
    key = Key(device, procedure, revision)
    try:
        with Means.database.write() as connection:
            number = reports.append(connection, report, after=1, what="worded", author=MACHINE)
            deliveries.owe(connection, Means.config, key, number, report)
    except RefusedError:
        with Means.database.read() as connection:
            kept = any(one.what == "worded" for one in reports.history(connection, key))
        if not kept:  # else this step was done before, and its worker killed
            return "somebody was faster, and the template stands"
    return f"template: {report.drafted.fallback}" if report.drafted.fallback else "worded"
