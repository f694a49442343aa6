"""Accounts of people whom an identity provider knows: made at their first login, and kept as the provider has them."""

from __future__ import annotations

import re
import unicodedata

import msgspec
from sqlalchemy import Connection, select

from edge.types import Struct
from server import accounts, audit, clock, sessions
from server.accounts import Account
from server.errors import RefusedError
from server.patient import Line
from server.role import Role
from server.store.database import Database, hold
from server.store.tables import accounts as table

_MOST = 999  # of one name


class Identity(Struct, frozen=True, kw_only=True):
    """What a provider says of somebody."""

    issuer: str
    subject: str
    name: str
    full_name: str
    role: Role


def account_of(database: Database, identity: Identity, *, address: str = "") -> Account:
    """Raises RefusedError for one that is disabled. Nobody gets an account that exists because of its name alone."""
    with database.write() as connection:
        hold(connection, "accounts")
        mine = (table.c.issuer == identity.issuer) & (table.c.subject == identity.subject)
        name = connection.execute(select(table.c.name).where(mine)).scalar()
        if name is None:
            name = _made(connection, identity, address)
        account = accounts.find(connection, name)
        assert account is not None
        if account.disabled:
            raise RefusedError(f"account {name} is disabled", 403)
        wanted = {"role": identity.role, "full_name": full_name(identity.full_name) or account.full_name}
        if wanted != {"role": account.role, "full_name": account.full_name}:
            connection.execute(table.update().where(table.c.name == name).values(wanted))
            sessions.close_all(connection, name)
            detail = {"account": name, "role": identity.role}
            audit.record(connection, "oidc", "account.update", address=address, detail=detail)
            account = msgspec.structs.replace(account, **wanted)
    return account


def _made(connection: Connection, identity: Identity, address: str) -> str:
    wanted = account_name(identity.name)
    for number in range(1, _MOST):
        name = wanted if number == 1 else f"{wanted}-{number}"
        if accounts.find(connection, name) is None:
            break
    else:
        raise RefusedError(f"account {wanted}: there are {_MOST} of that name", 409)
    row = {
        "name": name,
        "full_name": full_name(identity.full_name) or name,
        "role": identity.role,
        "issuer": identity.issuer,
        "subject": identity.subject,
        "made_at": clock.now(),
    }
    connection.execute(table.insert(), row)
    detail = {"account": name, "role": identity.role}
    audit.record(connection, "oidc", "account.create", address=address, detail=detail)
    return name


def account_name(said: str) -> str:
    """Of the letters that an account's name may have."""
    plain = unicodedata.normalize("NFKD", said).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._@+-]+", "-", plain).strip("._@+-")[:56] or "person"


def full_name(said: str) -> str:
    """One that DICOM takes; "" where nothing is left."""
    fit = " ".join(re.sub(r"[\x00-\x1f\x7f\\^=\ud800-\udfff]", " ", said).split())[:64].strip()
    return msgspec.convert(fit, Line)
