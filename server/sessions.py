"""Who is logged in. A session is a random token in a cookie; the table has its sha256 alone.

It ends after half an hour without a request, after twelve hours, when its account is disabled or changed, and when it
is closed.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from edge.types import Struct
from server import audit, clock
from server.store.database import Database
from server.store.tables import accounts, sessions

IDLE_S, LONGEST_S = 1800.0, 43_200.0
PROVEN_S = 300.0  # for so long whoever logged in may sign without the password
COOKIE, COOKIE_PLAIN = "__Host-endoedge", "endoedge"  # the browser takes the first by TLS alone
_SEEN_EVERY_S = 30.0  # a write for each request would be one too many


class Session(Struct, frozen=True, kw_only=True):
    digest: str
    account: str
    full_name: str
    role: str
    local: bool  # the account has a password
    csrf: str
    proven_at: str
    seen_at: str
    ends_at: str

    @property
    def proven(self) -> bool:
        """Lately enough to sign."""
        return self.proven_at > clock.later(-PROVEN_S)


def open_session(
    database: Database, account: str, *, address: str = "", how: str = "password", proven_at: str = ""
) -> str:
    """The token, for the cookie. `proven_at`: when the person showed who it is; "" just now."""
    token, now = secrets.token_urlsafe(32), clock.now()
    row = {
        "token": _digest(token),
        "account": account,
        "csrf": secrets.token_urlsafe(32),
        "made_at": now,
        "seen_at": now,
        "proven_at": proven_at or now,
        "ends_at": clock.later(LONGEST_S),
    }
    with database.write() as connection:
        connection.execute(sessions.delete().where(_over()))
        connection.execute(sessions.insert(), row)
        audit.record(connection, account, "login", address=address, detail={"how": how})
    return token


def find(database: Database, token: str, *, touch: bool = True) -> Session | None:
    """None: there is none, or it has ended. `touch` False: a look that does not keep it alive (a live page's)."""
    if not 20 <= len(token) <= 100:
        return None
    digest = _digest(token)
    columns = (sessions, accounts.c.full_name, accounts.c.role, accounts.c.password)
    query = (
        select(*columns)
        .join(accounts, accounts.c.name == sessions.c.account)
        .where(sessions.c.token == digest, accounts.c.disabled.is_(False), ~_over())
    )
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if touch and row.seen_at < clock.later(-_SEEN_EVERY_S):
        with database.write() as connection:
            connection.execute(sessions.update().where(sessions.c.token == digest).values(seen_at=clock.now()))
    return _session(row)


def proven(database: Database, session: Session, proven_at: str = "") -> None:
    """The person has shown again who it is, then or just now."""
    with database.write() as connection:
        values = {"proven_at": proven_at or clock.now(), "seen_at": clock.now()}
        connection.execute(sessions.update().where(sessions.c.token == session.digest).values(values))


def close(database: Database, session: Session, *, address: str = "") -> None:
    with database.write() as connection:
        if connection.execute(sessions.delete().where(sessions.c.token == session.digest)).rowcount:
            audit.record(connection, session.account, "logout", address=address)


def close_all(connection: Connection, account: str, *, but: str = "") -> None:
    """But for the one of that digest."""
    connection.execute(sessions.delete().where(sessions.c.account == account, sessions.c.token != but))


def _over() -> Any:
    return or_(sessions.c.ends_at <= clock.now(), sessions.c.seen_at <= clock.later(-IDLE_S))


def _session(row: Row[Any]) -> Session:
    return Session(
        digest=row.token,
        account=row.account,
        full_name=row.full_name,
        role=row.role,
        local=row.password is not None,
        csrf=row.csrf,
        proven_at=row.proven_at,
        seen_at=row.seen_at,
        ends_at=row.ends_at,
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
