"""To the hospital's systems, durably: each try of a delivery is a DBOS workflow under an id of its own.

`deliver:DEVICE/PROCEDURE/REVISION/NUMBER/TARGET/SINCE`, where SINCE is when it became due: a system that is away puts
its rows off, and nothing waits in a worker's hands. Sending twice is harmless (fixed UIDs and ids), so every step may
be done again. Away or failing: tried for ever, at most a minute apart; refused: a person's. Rows: `deliveries.py`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from typing import NamedTuple

from dbos import DBOS
from sqlalchemy import delete

from server import audit, jobs
from server.case import case_of
from server.deliveries import Row, State, begin, named, owe, settle
from server.deliveries import due as due_rows
from server.errors import RefusedError, ServerError
from server.export import send
from server.export.case import Case, ExportError
from server.jobs import Job, Means
from server.printing import Printers
from server.store.database import Database
from server.store.tables import attempts

__all__ = ["deliver", "due", "owe"]

log = logging.getLogger(__name__)
_AT_ONCE = 20  # looked for at once, for each system: one that is away is not asked by all that waits for it


class Outcome(NamedTuple):
    """Of a step; DBOS keeps it."""

    state: State
    said: str
    away: bool = False


def due(database: Database) -> Iterator[Job]:
    with database.read() as connection:
        rows = due_rows(connection, _AT_ONCE)
    yield from (Job(_id(row), deliver, tuple(row), row.target) for row in rows)


@jobs.workflow("deliver")
def deliver(device: str, procedure: str, revision: int, number: int, target: str, at: str) -> str:
    """What came of it, for the log of jobs."""
    row = Row(device, procedure, revision, number, target, at)
    tries = jobs.begun(Means.database, _id(row))
    patient = _begin(row)
    if patient is None:
        return "superseded, or put off"
    if tries > jobs.TRIES_MOST:
        return _settle(row, "refused", f"it was begun {tries - 1} times without an end", False)
    for step in (_build, _send):
        outcome = step(row, patient)
        if outcome is not None:
            return _settle(row, *outcome)
    raise AssertionError("_send has an outcome")


@DBOS.step(name="begin")
def _begin(row: Row) -> int | None:
    with Means.database.write() as connection:
        return begin(connection, row)


@DBOS.step(name="build")
def _build(row: Row, patient: int) -> Outcome | None:
    """All that can be wrong with a report shows here, before anybody is called. None: nothing is."""
    try:
        printers().pdf(_case(row, patient))
    except (ExportError, RefusedError) as exc:
        return Outcome("refused", str(exc))
    except ServerError as exc:
        return Outcome("waiting", str(exc))
    return None


@DBOS.step(name="send")
def _send(row: Row, patient: int) -> Outcome:
    system = getattr(Means.config.export, row.target)
    if system is None:
        return Outcome("refused", f"server.toml has no [export.{row.target}]")
    try:
        case = _case(row, patient)
        said = _sent(case, printers().pdf(case), system)
    except (ExportError, RefusedError) as exc:
        return Outcome("refused", str(exc))
    except send.SendError as exc:
        return Outcome("waiting" if exc.again else "refused", str(exc), exc.away)
    except ServerError as exc:
        return Outcome("waiting", str(exc))
    return Outcome("sent", f"{named(Means.config, row.target)}: {said}")


@DBOS.step(name="settle")
def _settle(row: Row, state: State, said: str, away: bool) -> str:
    with Means.database.write() as connection:
        settled = settle(connection, row, state, said, away=away)
        connection.execute(delete(attempts).where(attempts.c.job == _id(row)))
        if settled in ("sent", "refused"):
            detail: audit.Detail = {"revision": row.revision, "number": row.number, "target": row.target}
            audit.record(
                connection,
                "server",
                f"report.{settled}",
                device=row.device,
                procedure=row.procedure,
                detail=detail,
            )
    if settled == "refused":
        log.error("%s: refused: %s", row, said)
    elif settled == "waiting":
        log.warning("%s: tried again later: %s", row, said)
    return settled or "settled before"


# ------------------------------------------------------------------------------------------------ the parts


def _sent(case: Case, pdf: bytes, system: send.Pacs | send.Web) -> str:
    """Raises SendError, ExportError."""
    from server.export import dicom, fhir  # large

    if isinstance(system, send.Pacs):
        return str(send.store(system, dicom.instances(case, pdf)))
    if system is Means.config.export.stow:
        return str(send.stow(system, dicom.instances(case, pdf)))
    bundle = fhir.bundle(case, pdf)
    send.transact(system, bundle)
    return f"{len(bundle['entry'])} resources"


def _case(row: Row, patient: int) -> Case:
    return case_of(Means.database, Means.keep, Means.config, row.key, row.number, patient)


@functools.cache
def printers() -> Printers:
    """This process's. They end with it."""
    return Printers()


def _id(row: Row) -> str:
    return "deliver:" + "/".join(map(str, row))
