"""Procedures, reports and people in a report server's database, for tests of what people see."""

from __future__ import annotations

import functools

import msgspec
from argon2 import PasswordHasher
from msgspec.structs import replace
from sqlalchemy import insert

from edge.procedure import Record
from server import accounts, receive, reports
from server.clock import now
from server.keep import Keep
from server.report import Report
from server.reports import MACHINE, Key
from server.store.database import Database
from server.store.tables import boxes
from tools import export_example

PASSWORD = "seven green lanterns"
PEOPLE = {
    "ada": ("Dr. Ada Example", "clinician"),
    "ben": ("Dr. Ben Example", "clinician"),
    "vera": ("Vera View", "viewer"),
}


@functools.cache
def example() -> tuple[Record, dict[str, bytes]]:
    return export_example.example()


def people(database: Database) -> None:
    """All with one password, whose hash takes next to no work."""
    quick, slow = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1), accounts._hasher
    accounts._hasher = quick
    try:
        for name, (full_name, role) in PEOPLE.items():
            accounts.create(database, name, full_name, role, PASSWORD, by="test")
    finally:
        accounts._hasher = slow


def box(database: Database, device: str, seen_at: str | None = None) -> None:
    with database.write() as connection:
        row = {"device": device, "enrolled_at": now(), "enrolled_by": "test", "seen_at": seen_at or now()}
        connection.execute(insert(boxes), {**row, "software": "endoedge 0.1.0"})


def procedure(
    database: Database, keep: Keep, record: Record | None = None, draft: Report | None = None, *, drafted: bool = True
) -> Key:
    """As a box sends it, and (unless not `drafted`) as the template's job leaves it."""
    record = record or example()[0]
    for sha256, jpeg in example()[1].items():
        receive.take_frame(database, keep, record.heading.device, sha256, jpeg)
    receive.take_record(database, record, msgspec.json.encode(record))
    key = reports.key_of(record)
    if drafted:
        report = replace(draft or export_example.draft(), **key._asdict())
        with database.write() as connection:
            reports.append(connection, report, after=0, what="drafted", author=MACHINE)
    return key


def another(number: int, **changes: object) -> Record:
    """The example under a number of its own."""
    record = example()[0]
    name = f"00000000-0000-4000-8000-{number:012d}"
    return replace(record, procedure=name, **changes)
