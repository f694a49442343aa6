"""Signed reports with their drafts, out of the database, for who learns from them (`server/learn`). What was erased is
not there any more."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from server import deliveries, reports
from server.config import Config
from server.keep import Keep
from server.learn.case import Names, SignedCase
from server.reports import Key
from server.store.database import Database
from server.store.tables import accounts, records


def signed_cases(database: Database, keep: Keep, config: Config, more: tuple[str, ...] = ()) -> Iterator[SignedCase]:
    """Of each procedure the newest revision, where that is signed; in the order of their names, one at a time. `more`:
    further names that no text may hold. Raises ServerError."""
    with database.read() as connection:
        names = Names(people=tuple(_people(connection)), institution=config.institution, more=more)
        newest = select(records.c.device, records.c.procedure, func.max(records.c.revision))
        grouped = newest.group_by(records.c.device, records.c.procedure).order_by(records.c.device, records.c.procedure)
        keys = [Key(*row) for row in connection.execute(grouped)]
    for key in keys:
        if (case := _case(database, keep, key, names)) is not None:
            yield case


def _people(connection: Connection) -> Iterator[str]:
    for row in connection.execute(select(accounts.c.name, accounts.c.full_name).order_by(accounts.c.name)):
        yield from row


def _case(database: Database, keep: Keep, key: Key, names: Names) -> SignedCase | None:
    """None: nobody signed it, or it was erased meanwhile."""
    with database.read() as connection:
        record, versions = reports.record(connection, key), reports.history(connection, key)
        joined = deliveries.patient_number(connection, key)
        patient = deliveries.patient(connection, key, joined) if joined else None
    drafts = [one.report for one in versions if one.what in ("drafted", "worded")]
    if record is None or not drafts or versions[-1].report.state == "draft":
        return None
    pictures = {frame.sha256: keep.get(frame.sha256) for frame in record.key_frames()}
    frames = {sha256: jpeg for sha256, jpeg in pictures.items() if jpeg is not None}
    return SignedCase(record, drafts[-1], versions[-1].report, frames, patient, names)
