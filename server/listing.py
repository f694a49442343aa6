"""The list of procedures, newest first, a page at a time, and the boxes. One query each; no document is read.

A row is a procedure as its newest revision has it. Pages go on after the last row (keyset), so that what comes
meanwhile moves nothing. Who calls audits.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from sqlalchemy import Connection, Row, Select, and_, func, or_, select, tuple_

from edge.types import Struct
from server.errors import RefusedError
from server.patient import Patient
from server.reports import Key
from server.store.tables import boxes, joined, listed

PAGE = 50  # rows
_Text = Annotated[str, Meta(max_length=100)]


class Wanted(Struct, frozen=True, kw_only=True):
    """What is looked for. "" is everything."""

    text: _Text = ""  # in the patient's name and number, the procedure's number, the box's name
    state: Literal["", "none", "draft", "final", "amended"] = ""  # of the report
    device: _Text = ""
    pipeline: _Text = ""
    after: Annotated[str, Meta(max_length=200)] = ""  # `Entry.at` of the row before


class Entry(Struct, frozen=True, kw_only=True):
    key: Key
    state: str  # the record's
    pipeline: str
    started_at: str  # as the box believed
    received_at: str
    findings: int
    report: str  # its state; "": none yet
    number: int  # of its newest version
    touched_at: str
    patient: Patient | None

    @property
    def at(self) -> str:
        """Where a page goes on."""
        return f"{self.received_at},{self.key.device},{self.key.procedure}"


class Box(Struct, frozen=True, kw_only=True):
    device: str
    software: str
    seen_at: str  # "": never
    revoked: bool


def entries(connection: Connection, wanted: Wanted, most: int = PAGE) -> tuple[list[Entry], str]:
    """A page, and where the next one goes on; "": this is the last one. Raises RefusedError."""
    query = _filtered(_rows(), wanted)
    if wanted.after:
        query = query.where(_order() < tuple_(*_after(wanted.after)))
    rows = connection.execute(query.order_by(*(column.desc() for column in _ORDER)).limit(most + 1)).all()
    found = [_entry(row) for row in rows[:most]]
    return found, found[-1].at if len(rows) > most else ""


def touched(connection: Connection, most: int) -> list[Entry]:
    """What came or changed last."""
    query = _rows().order_by(listed.c.touched_at.desc()).limit(most)
    return [_entry(row) for row in connection.execute(query)]


def pipelines(connection: Connection) -> list[str]:
    """Of all procedures."""
    return list(connection.execute(select(listed.c.pipeline).distinct().order_by(listed.c.pipeline)).scalars())


def all_boxes(connection: Connection) -> list[Box]:
    """By name; those that may come in no more are last."""
    query = select(boxes).order_by(boxes.c.revoked_at.is_not(None), boxes.c.device)
    return [_box(row) for row in connection.execute(query)]


def seen_boxes(connection: Connection, most: int) -> list[Box]:
    """Last seen first."""
    query = select(boxes).where(boxes.c.seen_at.is_not(None)).order_by(boxes.c.seen_at.desc()).limit(most)
    return [_box(row) for row in connection.execute(query)]


def words_of(patient: Patient) -> str:
    """By which a procedure is found (`joined.words`)."""
    return " ".join((patient.family, patient.given, patient.id, patient.accession)).casefold()


_ORDER = (listed.c.received_at, listed.c.device, listed.c.procedure)


def _order() -> Any:
    return tuple_(*_ORDER)


def _rows() -> Select[Any]:
    """With the newest patient of each."""
    later = joined.alias()
    same = and_(later.c.device == listed.c.device, later.c.procedure == listed.c.procedure)
    last = select(func.max(later.c.number)).where(same).correlate(listed).scalar_subquery()
    whose = and_(joined.c.device == listed.c.device, joined.c.procedure == listed.c.procedure, joined.c.number == last)
    return select(*listed.c, joined.c.body.label("patient")).select_from(listed.outerjoin(joined, whose))


def _filtered(query: Select[Any], wanted: Wanted) -> Select[Any]:
    if wanted.state:
        query = query.where(listed.c.report == ("" if wanted.state == "none" else wanted.state))
    if wanted.device:
        query = query.where(listed.c.device == wanted.device)
    if wanted.pipeline:
        query = query.where(listed.c.pipeline == wanted.pipeline)
    for word in wanted.text.casefold().split():
        names = (func.lower(listed.c.device), func.lower(listed.c.procedure), joined.c.words)
        query = query.where(or_(*(name.contains(word, autoescape=True) for name in names)))
    return query


def _after(text: str) -> tuple[str, str, str]:
    received_at, _, rest = text.partition(",")
    device, _, procedure = rest.rpartition(",")
    if not (received_at and device and procedure):
        raise RefusedError(f"after {text[:80]!r}: expected where a page ended")
    return received_at, device, procedure


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        key=Key(row.device, row.procedure, row.revision),
        state=row.state,
        pipeline=row.pipeline,
        started_at=row.started_at,
        received_at=row.received_at,
        findings=row.findings,
        report=row.report,
        number=row.number,
        touched_at=row.touched_at,
        patient=None if row.patient is None else msgspec.json.decode(row.patient, type=Patient),
    )


def _box(row: Row[Any]) -> Box:
    return Box(device=row.device, software=row.software, seen_at=row.seen_at or "", revoked=row.revoked_at is not None)
