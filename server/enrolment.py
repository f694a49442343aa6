"""Boxes: which ones may come in. An administrator makes a code for one device; the box gives it once and gets a token,
or a certificate where it asks for one. The tables hold digests alone.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any

from sqlalchemy import Row, or_, select, update

from edge.types import Struct
from server import audit, clock
from server.errors import RefusedError
from server.store.database import Database, hold
from server.store.tables import boxes as table
from server.store.tables import codes

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: none is taken for another
LETTERS = 16  # of a code: 80 bits
HOURS_MOST = 24 * 14
REFUSED = "expected a code of this device that was not used yet, and has not ended"
_ALIKE = str.maketrans("OIL", "011")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # as `edge.config.Name`
_SEEN_EVERY_S = 60.0


class Box(Struct, frozen=True, kw_only=True):
    device: str
    enrolled_at: str
    enrolled_by: str
    revoked_at: str = ""
    seen_at: str = ""
    software: str = ""
    certificate: str = ""  # sha256 of it; "" a token


def make_code(database: Database, device: str, made_by: str, hours: float = 24.0, *, address: str = "") -> str:
    """Good once. Raises RefusedError."""
    check_device(device)
    if not 0 < hours <= HOURS_MOST:
        raise RefusedError(f"{hours:g} hours: expected more than 0, at most {HOURS_MOST}")
    code = "".join(secrets.choice(ALPHABET) for _ in range(LETTERS))
    row = {
        "code": _digest(code),
        "device": device,
        "made_by": made_by,
        "made_at": clock.now(),
        "ends_at": clock.later(hours * 3600),
    }
    with database.write() as connection:
        connection.execute(codes.insert(), row)
        audit.record(connection, made_by, "box.code", address=address, device=device, detail={"hours": hours})
    return "-".join(code[at : at + 4] for at in range(0, LETTERS, 4))


def check_device(device: str) -> None:
    """Raises RefusedError."""
    if not _DEVICE.fullmatch(device):
        raise RefusedError(f"device {device[:80]!r}: expected a name of A-Z, a-z, 0-9 and . _ -, at most 64")


def enrol(database: Database, device: str, code: str, *, certificate: str = "", address: str = "") -> str:
    """The box's token, or "" where `certificate` (sha256 of one that was made for it) takes its place. What the device
    had before is good no longer. Raises RefusedError (403); then the code is as it was."""
    now, token = clock.now(), "" if certificate else secrets.token_urlsafe(32)
    with database.write() as connection:
        spent = (
            update(codes)
            .where(codes.c.code == _digest(_normal(code)), codes.c.device == device)
            .where(codes.c.used_at.is_(None), codes.c.ends_at > now)
            .values(used_at=now)
            .returning(codes.c.made_by)
        )
        made_by = connection.execute(spent).scalar() if _DEVICE.fullmatch(device) else None
        if made_by is not None:
            hold(connection, "boxes")
            values = {
                "token": _digest(token) if token else None,
                "certificate": certificate or None,
                "renewed": None,
                "enrolled_at": now,
                "enrolled_by": made_by,
                "revoked_at": None,
            }
            if not connection.execute(table.update().where(table.c.device == device).values(values)).rowcount:
                connection.execute(table.insert(), {"device": device, **values})
            how = {"with": "certificate" if certificate else "token"}
            audit.record(connection, f"box:{device}", "box.enrol", address=address, device=device, detail=how)
            return token
    with database.write() as connection:
        audit.record(connection, "", "box.enrol.failed", address=address, device=device)
    raise RefusedError(REFUSED, 403)


def box_of(database: Database, token: str) -> str | None:
    """The device whose token this is, if it may still come in."""
    if not 20 <= len(token) <= 100:
        return None
    return _seen(database, table.c.token == _digest(token))


def box_of_certificate(database: Database, fingerprint: str) -> str | None:
    """The same by the sha256 of its certificate. One that was renewed takes the older one's place when it is shown
    first: until then the box may not have got it."""
    device = _seen(database, or_(table.c.certificate == fingerprint, table.c.renewed == fingerprint))
    if device is not None:
        with database.read() as connection:
            query = select(table.c.device).where(table.c.renewed == fingerprint)
            fresh = connection.execute(query).scalar()
        if fresh is not None:
            with database.write() as connection:
                values = {"certificate": fingerprint, "renewed": None}
                connection.execute(table.update().where(table.c.renewed == fingerprint).values(values))
                audit.record(connection, f"box:{device}", "box.renewed", device=device)
    return device


def renew(database: Database, device: str, fingerprint: str, *, address: str = "") -> None:
    """`device` has been made another certificate. Raises RefusedError."""
    with database.write() as connection:
        mine = (table.c.device == device) & table.c.revoked_at.is_(None) & table.c.certificate.is_not(None)
        if not connection.execute(table.update().where(mine).values(renewed=fingerprint)).rowcount:
            raise RefusedError(f"box {device}: has no certificate that could be renewed", 403)
        audit.record(connection, f"box:{device}", "box.renew", address=address, device=device)


def revoke(database: Database, device: str, *, by: str, address: str = "") -> None:
    """At once, and its codes. Raises RefusedError."""
    with database.write() as connection:
        now = clock.now()
        values = {"revoked_at": now, "token": None, "certificate": None, "renewed": None}
        found = connection.execute(table.update().where(table.c.device == device).values(values)).rowcount
        open_codes = (codes.c.device == device) & codes.c.used_at.is_(None)
        found += connection.execute(codes.update().where(open_codes).values(used_at=now)).rowcount
        if not found:
            raise RefusedError(f"box {device[:64]!r}: there is none of that name", 404)
        audit.record(connection, by, "box.revoke", address=address, device=device)


def boxes(database: Database) -> list[Box]:
    with database.read() as connection:
        return [_box(row) for row in connection.execute(select(table).order_by(table.c.device))]


def _seen(database: Database, which: Any) -> str | None:
    with database.read() as connection:
        query = select(table.c.device, table.c.seen_at).where(which, table.c.revoked_at.is_(None))
        row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if (row.seen_at or "") < clock.later(-_SEEN_EVERY_S):
        with database.write() as connection:
            connection.execute(table.update().where(table.c.device == row.device).values(seen_at=clock.now()))
    return str(row.device)


def _box(row: Row[Any]) -> Box:
    return Box(
        device=row.device,
        enrolled_at=row.enrolled_at,
        enrolled_by=row.enrolled_by,
        revoked_at=row.revoked_at or "",
        seen_at=row.seen_at or "",
        software=row.software,
        certificate=row.certificate or "",
    )


def _normal(code: str) -> str:
    """As a person may have typed it."""
    return re.sub(r"[\s-]+", "", code[:100]).upper().translate(_ALIKE)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
