"""Who did what, when: lines that are only added to, each with a hash over itself and the line before.

`record` belongs at the end of a transaction, with what it tells of: from it to the commit nobody else can add a line.
Whoever may write to the database itself can make a whole new chain or cut its end off; that shows only against a `Head`
that was kept elsewhere (`endoedge-server audit head`). Nobody's name but an account's goes into a line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from edge.types import Struct
from server.clock import now
from server.errors import ServerError
from server.store.database import Database, hold
from server.store.tables import audit

DETAIL_MOST = 2000  # characters
_START = "0" * 64  # what the first line follows
_AT_ONCE = 1000  # rows

Detail = Mapping[str, str | int | float | bool | list[str] | None]


class Head(Struct, frozen=True, kw_only=True):
    """The newest line. Number 0: there is none."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number} {self.hash}"


class Verdict(Struct, frozen=True, kw_only=True):
    head: Head  # the last line that was looked at
    wrong: int = 0  # number of the first line that does not hold; 0 all hold
    why: str = ""


def record(
    connection: Connection,
    who: str,
    what: str,
    *,
    address: str = "",
    device: str = "",
    procedure: str = "",
    detail: Detail | None = None,
) -> int:
    """The line's number. `who`: an account, "box:DEVICE", "cli:USER", "server", or "" before a login. Raises
    ValueError for a detail that does not fit."""
    text = msgspec.json.encode(dict(detail), order="sorted").decode() if detail else ""
    if len(text) > DETAIL_MOST:
        raise ValueError(f"detail of {what}: {len(text)} characters, expected at most {DETAIL_MOST}")
    hold(connection, "audit")
    last = head(connection)
    row: dict[str, Any] = {
        "number": last.number + 1,
        "at": now(),
        "who": line(who),
        "address": line(address),
        "what": line(what, 32),
        "device": line(device),
        "procedure": line(procedure),
        "detail": text,
        "previous": last.hash,
    }
    connection.execute(audit.insert(), {**row, "hash": _hash(row)})
    return int(row["number"])


def head(connection: Connection) -> Head:
    query = select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)
    found = connection.execute(query).one_or_none()
    return Head(number=found.number, hash=found.hash) if found else Head(number=0, hash=_START)


def line(text: str, most: int = 64) -> str:
    """What somebody sent, fit for a line: printable, and not too long."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])


def lines(connection: Connection, after: int = 0) -> Iterator[Row[Any]]:
    """In order, a block at a time."""
    while True:
        query = select(audit).where(audit.c.number > after).order_by(audit.c.number).limit(_AT_ONCE)
        block = connection.execute(query).all()
        yield from block
        if len(block) < _AT_ONCE:
            return
        after = block[-1].number


def verify(database: Database, known: Head | None = None) -> Verdict:
    """Every line against the one before. `known`: a head that was kept elsewhere; it has to be one of them."""
    at = Head(number=0, hash=_START)
    with database.read() as connection:
        for row in lines(connection):
            if why := _wrong(row, at, known):
                return Verdict(head=at, wrong=at.number + 1, why=why)
            at = Head(number=row.number, hash=row.hash)
    if known is not None and known.number > at.number:
        return Verdict(head=at, wrong=at.number + 1, why=f"missing: the chain once reached line {known.number}")
    return Verdict(head=at)


def parse_head(text: str) -> Head:
    """As `str` writes it. Raises ServerError."""
    number, _, digest = text.strip().partition(" ")
    if not (number.isascii() and number.isdigit()) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ServerError(f"{text.strip()[:80]!r}: expected a head of the audit: a number and a sha256")
    return Head(number=int(number), hash=digest)


def _wrong(row: Row[Any], before: Head, known: Head | None) -> str:
    if row.number != before.number + 1:
        return f"missing: line {row.number} follows line {before.number}"
    if row.previous != before.hash:
        return "does not follow the line before"
    content = {name: value for name, value in row._mapping.items() if name != "hash"}
    if row.hash != _hash(content):
        return "its content is not what its hash was made of"
    if known is not None and row.number == known.number and row.hash != known.hash:
        return "differs from the head that was kept elsewhere"
    return ""


def _hash(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(dict(row), order="sorted")).hexdigest()
