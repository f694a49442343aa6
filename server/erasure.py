"""What the law wants gone, goes: record, reports, patient, questions and key frames of a procedure. A tombstone stays,
and the audit; neither names anybody. Nothing of that procedure is taken again, and its box is told that it was taken.

Whatever was sent elsewhere is there still: `Erased.elsewhere` says where. So are backups.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta
from sqlalchemy import Connection, Table, func, or_, select

from edge.types import Struct
from server import audit, clock, deliveries, pictures, reports
from server.config import Config
from server.errors import RefusedError
from server.keep import Keep
from server.reports import Key
from server.store import tables
from server.store.database import Database, hold

Reason = Literal["request", "order", "mistake", "retention"]
"""The patient's; a court's or an authority's; it should not be here; its time is over."""
REASONS: tuple[Reason, ...] = get_args(Reason)
UNUSED_S = 30 * 86_400.0  # a key frame without a record
_OPEN = ("waiting", "sending", "refused")
_SIGNED = ("final", "amended")
Reference = Annotated[str, Meta(pattern=r"^[A-Za-z0-9./_-]{0,64}\Z")]  # a file's number: no room for a name


class Erased(Struct, frozen=True, kw_only=True):
    device: str
    procedure: str
    revisions: int  # of the record
    versions: int  # of its reports
    pictures: int
    elsewhere: tuple[str, ...] = ()  # where the hospital's systems have it still


def erase(
    database: Database, config: Config, device: str, procedure: str, *, by: str, reason: str, reference: str = ""
) -> Erased:
    """Raises RefusedError. The files go with `pictures.clear`."""
    if reason not in REASONS:
        raise RefusedError(f"reason {reason!r}: expected {', '.join(REASONS)}")
    try:
        msgspec.convert(reference, Reference)
    except msgspec.ValidationError as exc:
        raise RefusedError("reference: expected a file's number of A-Z, a-z, 0-9 and . / _ -, at most 64") from exc
    with database.write() as connection:
        hold(connection, f"joined {device} {procedure}")
        return _erase(connection, config, device, procedure, by, reason, reference)


def _erase(
    connection: Connection, config: Config, device: str, procedure: str, by: str, reason: str, reference: str
) -> Erased:
    of = {"device": device, "procedure": procedure}
    if at := erased_at(connection, device, procedure):
        raise RefusedError(f"{device} {procedure}: was erased at {at}", 409)
    row = tables.records
    mine = select(row.c.revision).where(row.c.device == device, row.c.procedure == procedure)
    known = connection.execute(
        mine.with_for_update()
    ).all()  # a report that is being written comes first, or not at all
    if not known:
        raise RefusedError(f"{device[:64]} {procedure[:64]}: no such procedure", 404)
    elsewhere = _elsewhere(connection, config, device, procedure)
    stone = {"at": clock.now(), "by": by, "reason": reason, "reference": reference}
    connection.execute(tables.erased.insert(), {**of, **stone})
    versions = _count(connection, tables.reports, device, procedure)
    # from the leaves: `listed` and `undrafted` go with their record
    for table in (tables.questions, tables.joined, tables.deliveries, tables.reports, tables.records):
        connection.execute(table.delete().where(table.c.device == device, table.c.procedure == procedure))
    gone = pictures.let_go(connection, device, procedure)
    detail: audit.Detail = {"reason": reason, "reference": reference, "revisions": len(known), "pictures": gone}
    audit.record(connection, by, "procedure.erase", detail=detail, **of)
    return Erased(**of, revisions=len(known), versions=versions, pictures=gone, elsewhere=elsewhere)


def erased_at(connection: Connection, device: str, procedure: str) -> str:
    """ "" it was not."""
    stone = tables.erased
    query = select(stone.c.at).where(stone.c.device == device, stone.c.procedure == procedure)
    return connection.execute(query).scalar() or ""


def _elsewhere(connection: Connection, config: Config, device: str, procedure: str) -> tuple[str, ...]:
    row = tables.deliveries
    arrived = or_(row.c.state == "sent", (row.c.tries > 0) & (row.c.state != "withdrawn"))
    query = select(row.c.target).where(row.c.device == device, row.c.procedure == procedure, arrived).distinct()
    return tuple(sorted(deliveries.named(config, target) for target in connection.execute(query).scalars()))


def _count(connection: Connection, table: Table, device: str, procedure: str) -> int:
    query = select(func.count()).where(table.c.device == device, table.c.procedure == procedure)
    return int(connection.execute(query).scalar_one())


# ------------------------------------------------------------------------------------------------ retention


def retain(database: Database, config: Config, keep: Keep, most: int) -> list[Erased]:
    """Erases what its time is over of, at most so many; and what nobody can read any more."""
    with database.read() as connection:
        wanted = [key for key, _ in zip(over(connection, config), range(most), strict=False)]
    done = []
    for device, procedure in wanted:
        try:
            done.append(erase(database, config, device, procedure, by="server", reason="retention"))
        except RefusedError:  # somebody was faster
            continue
    with database.write() as connection:
        pictures.let_go_unused(connection, UNUSED_S)
    pictures.clear(database, keep)
    keep.sweep()
    return done


def over(connection: Connection, config: Config) -> Iterator[tuple[str, str]]:
    """Procedures whose time is over, oldest first. A report that a system still waits for stays, and so does one that
    is somewhere under a wrong patient: nobody else knows that."""
    for states, days in ((_SIGNED, config.retention.days), (("", "draft"), config.retention.drafts_days)):
        if not days:
            continue
        row, before = tables.listed, clock.later(-days * 86_400.0)
        old = (row.c.received_at < before) & (row.c.touched_at < before) & row.c.report.in_(states)
        same = [tables.deliveries.c[name] == row.c[name] for name in ("device", "procedure")]
        owed = select(tables.deliveries.c.number).where(*same, tables.deliveries.c.state.in_(_OPEN))
        query = select(row.c.device, row.c.procedure).where(old, ~owed.exists()).order_by(row.c.received_at)
        for device, procedure in connection.execute(query).all():
            if states != _SIGNED and _signed(connection, device, procedure):
                continue
            if not _astray(connection, config, device, procedure):
                yield device, procedure


def _signed(connection: Connection, device: str, procedure: str) -> bool:
    """Any revision of it."""
    row = tables.reports
    query = select(row.c.number).where(row.c.device == device, row.c.procedure == procedure, row.c.state != "draft")
    return connection.execute(query.limit(1)).scalar() is not None


def _astray(connection: Connection, config: Config, device: str, procedure: str) -> Any:
    revisions = reports.revisions(connection, device, procedure)
    return any(deliveries.astray(connection, config, Key(device, procedure, one)) for one in revisions)
