"""What a page needs of a procedure, out of the database: one query each."""

from __future__ import annotations

from typing import NamedTuple

from fastapi import Request
from sqlalchemy import Connection

from edge.procedure import Record
from server import guard, patients, reports
from server.config import Config
from server.errors import RefusedError
from server.guard import Person
from server.patient import Patient
from server.reports import Key, Version
from server.web.view import View, view


class Found(NamedTuple):
    record: Record
    version: Version | None  # None: no draft yet
    patient: Patient | None
    revisions: list[int]
    missing: list[str]  # sha256 of key frames


def load(connection: Connection, key: Key) -> Found:
    """Raises RefusedError (404)."""
    record = reports.record(connection, key)
    if record is None:
        raise RefusedError(f"there is no record of {key}", 404)
    return Found(
        record,
        reports.newest(connection, key),
        patients.of(connection, key.device, key.procedure),
        reports.revisions(connection, key.device, key.procedure),
        reports.missing_frames(connection, record),
    )


def shown(request: Request, who: Person, found: Found) -> View:
    config: Config = request.app.state.config
    return view(
        found.record,
        found.version,
        account=who.account,
        may_change=who.role != "viewer",
        patient=found.patient,
        revisions=found.revisions,
        missing=found.missing,
        needed=config.sign.signatures,
    )


def read(request: Request, who: Person, key: Key) -> Found:
    """For the eyes of `who`: the audit knows it before anything is shown."""
    with guard.database(request).read() as connection:
        found = load(connection, key)
    guard.note_read(request, who, "report.read", key.device, key.procedure)
    return found
