"""Whose procedure it is. Joined when a report is signed, never before; who was joined last counts.

Correcting a wrong one joins another: nothing is written over."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, func, select

from server import deliveries, reports
from server.clock import now
from server.config import Config
from server.errors import RefusedError
from server.listing import words_of
from server.patient import Patient
from server.reports import Key
from server.store.database import hold
from server.store.tables import joined


def join(connection: Connection, device: str, procedure: str, patient: Patient, author: str) -> int:
    """The number of this joining. In the transaction that signs; who calls audits."""
    hold(connection, f"joined {device} {procedure}")
    of = (joined.c.device == device, joined.c.procedure == procedure)
    number = (connection.execute(select(func.max(joined.c.number)).where(*of)).scalar() or 0) + 1
    row = {"device": device, "procedure": procedure, "number": number, "author": author, "at": now()}
    connection.execute(joined.insert(), {**row, "body": msgspec.json.encode(patient), "words": words_of(patient)})
    return number


REASONS = ("mistyped", "mistaken", "renamed")
"""Why a patient is corrected: typed wrong; another one was meant; the hospital has renamed or merged the record. Words
of ours alone, for they go into the audit."""


def correct(
    connection: Connection, config: Config, device: str, procedure: str, patient: Patient, reason: str, author: str
) -> list[Key]:
    """The reports that are signed get a version with the patient who it is, and are sent again; these are they. What
    went out under the wrong one is `server.deliveries.astray`. Who calls audits. Raises RefusedError."""
    if reason not in REASONS:
        raise RefusedError(f"reason {reason[:40]!r}: expected one of {', '.join(REASONS)}")
    if patient == of(connection, device, procedure):
        raise RefusedError("that is the patient already", 409)
    keys = [Key(device, procedure, number) for number in reports.revisions(connection, device, procedure)]
    signed = [
        (key, version)
        for key in keys
        if (version := reports.newest(connection, key)) is not None and version.report.state != "draft"
    ]
    if not signed:
        raise RefusedError("there is no signed report: the patient is joined when it is signed", 409)
    join(connection, device, procedure, patient, author)
    for key, version in signed:
        after = version.number
        number = reports.append(connection, version.report, after=after, what="corrected", author=author)
        deliveries.owe(connection, config, key, number, version.report)
    return [key for key, _ in signed]


def of(connection: Connection, device: str, procedure: str) -> Patient | None:
    """As was said last."""
    which = (joined.c.device == device, joined.c.procedure == procedure)
    query = select(joined.c.body).where(*which).order_by(joined.c.number.desc()).limit(1)
    body = connection.execute(query).scalar_one_or_none()
    return None if body is None else msgspec.json.decode(body, type=Patient)
