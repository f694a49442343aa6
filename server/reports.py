"""Records and reports in the database. A report is a row for every version: the highest number is the report, and
nothing is written over. All take a connection of `Database.read` or `.write`; who calls audits.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, Select, and_, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from edge.procedure import Record
from edge.types import Struct
from server import listed, pictures
from server.clock import now
from server.errors import RefusedError
from server.report import Report
from server.store.tables import frames, records, reports
from server.store.tables import undrafted as waiting

What = Literal["drafted", "worded", "edited", "signed", "amended", "corrected"]
MACHINE = ""  # its author


class Key(NamedTuple):
    """Which report."""

    device: str
    procedure: str
    revision: int

    def __str__(self) -> str:
        return f"{self.device} {self.procedure} revision {self.revision}"


class Waiting(NamedTuple):
    """A record without a report."""

    received_at: str
    key: Key


class Version(Struct, frozen=True, kw_only=True):
    """A report as it was after one change."""

    number: int
    what: What
    author: str
    at: str
    report: Report


def key_of(record: Record) -> Key:
    return Key(record.heading.device, record.procedure, record.revision)


# ------------------------------------------------------------------------------------------------- records


def keep_record(connection: Connection, record: Record, body: bytes) -> bool:
    """False: it was there. Raises RefusedError (409) when there is another one under that revision."""
    digest, at = hashlib.sha256(body).hexdigest(), now()
    row = {
        **key_of(record)._asdict(),
        "state": record.state,
        "pipeline": record.heading.made_by.pipeline,
        "started_at": record.heading.started_at,
        "digest": digest,
        "body": body,
        "received_at": at,
    }
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(records)
    if connection.execute(insert.values(row).on_conflict_do_nothing().returning(records.c.device)).first():
        listed.keep(connection, record, at)
        connection.execute(waiting.insert().values(**key_of(record)._asdict(), received_at=at))
        pictures.keep(connection, record)
        return True
    found = connection.execute(_one(select(records.c.digest), key_of(record))).scalar_one()
    if found != digest:
        raise RefusedError(f"{key_of(record)}: another document was taken under this revision", 409)
    return False


def record(connection: Connection, key: Key) -> Record | None:
    body = connection.execute(_one(select(records.c.body), key)).scalar_one_or_none()
    return None if body is None else msgspec.json.decode(body, type=Record)


def revisions(connection: Connection, device: str, procedure: str) -> list[int]:
    """Lowest first."""
    wanted = and_(records.c.device == device, records.c.procedure == procedure)
    return list(connection.execute(select(records.c.revision).where(wanted).order_by(records.c.revision)).scalars())


def undrafted(connection: Connection, most: int, after: Waiting | None = None) -> list[Waiting]:
    """Records without any report, oldest first, from the one after `after` on."""
    order = (waiting.c.received_at, waiting.c.device, waiting.c.procedure, waiting.c.revision)
    wanted = select(*order).order_by(*order).limit(most)
    if after is not None:
        wanted = wanted.where(tuple_(*order) > tuple_(after.received_at, *after.key))
    return [Waiting(row.received_at, Key(*row[1:])) for row in connection.execute(wanted)]


def missing_frames(connection: Connection, record: Record) -> list[str]:
    """sha256 of the key frames that this box has not sent."""
    wanted = [frame.sha256 for frame in record.key_frames()]
    known = _frames(connection, record.heading.device, wanted)
    return [sha256 for sha256 in dict.fromkeys(wanted) if sha256 not in known]


def wrong_frame(connection: Connection, record: Record) -> str:
    """What the record says of a key frame, and the picture does not show; "" nothing."""
    wanted = list(record.key_frames())
    known = _frames(connection, record.heading.device, [frame.sha256 for frame in wanted])
    for frame in wanted:
        said, found = (frame.size, frame.width, frame.height), known.get(frame.sha256)
        if found is not None and said != found:
            return f"key frame {frame.sha256}: {said} (bytes, width, height), the picture has {found}"
    return ""


def _frames(connection: Connection, device: str, wanted: list[str]) -> dict[str, tuple[int, int, int]]:
    columns = (frames.c.sha256, frames.c.size, frames.c.width, frames.c.height)
    known = select(*columns).where(frames.c.device == device, frames.c.sha256.in_(wanted))
    return {row.sha256: (row.size, row.width, row.height) for row in connection.execute(known)}


# ------------------------------------------------------------------------------------------------- reports


def newest(connection: Connection, key: Key) -> Version | None:
    wanted = _one(select(reports), key, reports).order_by(reports.c.number.desc()).limit(1)
    row = connection.execute(wanted).mappings().one_or_none()
    return None if row is None else _version(row)


def version(connection: Connection, key: Key, number: int) -> Version | None:
    wanted = _one(select(reports), key, reports).where(reports.c.number == number)
    row = connection.execute(wanted).mappings().one_or_none()
    return None if row is None else _version(row)


def history(connection: Connection, key: Key) -> list[Version]:
    """First one first."""
    wanted = _one(select(reports), key, reports).order_by(reports.c.number)
    return [_version(row) for row in connection.execute(wanted).mappings()]


def append(connection: Connection, report: Report, *, after: int, what: What, author: str) -> int:
    """Its number. `after`: the number of the version that it was made from, 0 for none. Raises RefusedError (409) when
    somebody else was faster."""
    key = Key(report.device, report.procedure, report.revision)
    number = connection.execute(_one(select(func.max(reports.c.number)), key, reports)).scalar() or 0
    at = now()
    row = {
        **key._asdict(),
        "number": after + 1,
        "state": report.state,
        "what": what,
        "author": author,
        "at": at,
        "body": msgspec.json.encode(report),
    }
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(reports)
    once = insert.values(row).on_conflict_do_nothing().returning(reports.c.number)
    if number != after or not connection.execute(once).first():
        raise RefusedError(f"report of {key}: it was changed meanwhile; look at it again", 409)
    if after == 0:
        connection.execute(waiting.delete().where(*(waiting.c[name] == value for name, value in key._asdict().items())))
    listed.touch(connection, *key, report.state, after + 1, at)
    return after + 1


def _one(statement: Select[tuple[object, ...]] | Select[tuple[object]], key: Key, table: object = records) -> Select:  # type: ignore[type-arg]
    return statement.where(*(table.c[name] == value for name, value in key._asdict().items()))  # type: ignore[attr-defined]


def _version(row: object) -> Version:
    body = msgspec.json.decode(row["body"], type=Report)  # type: ignore[index]
    return Version(number=row["number"], what=row["what"], author=row["author"], at=row["at"], report=body)  # type: ignore[index]
