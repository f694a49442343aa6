"""People: who may come in, and as what. Passwords are kept as argon2id alone.

Whoever tries a name gets one answer, after the same work, whether or not there is such an account, and each try is
counted before it is judged: tries at the same time are no way round the lock.
"""

from __future__ import annotations

import itertools
import re
import threading
import unicodedata
from typing import Annotated, Any

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from msgspec import Meta
from sqlalchemy import Connection, Row, func, select
from sqlalchemy.exc import IntegrityError

from edge.types import Struct
from server import audit, clock, sessions
from server.errors import RefusedError
from server.patient import Line
from server.role import ROLES, Role
from server.store.database import Database, hold
from server.store.tables import accounts

TRIES = 5  # in a row, before an account is locked
LOCK_S, LOCK_MOST_S = 60.0, 900.0  # the first time, doubled each time after it
SHORTEST, LONGEST = 12, 256  # characters of a password
REFUSED = "name or password is not right; after several tries an account is locked for up to 15 minutes"
_WORDS = """password passwordpassword passwort kennwort motdepasse qwertyuiop qwertzuiop asdfghjkl administrator welcome
administration letmein willkommen changeme iloveyou abcdefghijkl endoedge endoscopy endoskopie hospital krankenhaus"""
_COMMON = frozenset(_WORDS.split())
_DIFFERENT = 5  # letters, at least
_NAME = re.compile(r"^[a-z0-9][a-z0-9._@+-]{0,63}\Z")
_hasher = PasswordHasher()
_at_work = threading.BoundedSemaphore(4)  # each takes 64 MiB


class Account(Struct, frozen=True, kw_only=True):
    name: Annotated[str, Meta(pattern=_NAME.pattern)]
    full_name: Annotated[Line, Meta(min_length=1)]  # signs reports, so it has to be one that DICOM takes
    role: Role
    disabled: bool = False
    local: bool = True  # has a password here
    issuer: str = ""  # of OpenID Connect
    locked_until: str = ""
    made_at: str = ""


# --------------------------------------------------------------------------------------------- looking


def find(connection: Connection, name: str) -> Account | None:
    row = connection.execute(select(accounts).where(accounts.c.name == name)).one_or_none()
    return _account(row) if row else None


def everybody(database: Database) -> list[Account]:
    with database.read() as connection:
        return [_account(row) for row in connection.execute(select(accounts).order_by(accounts.c.name))]


# -------------------------------------------------------------------------------------------- changing


def create(
    database: Database,
    name: str,
    full_name: str,
    role: str,
    password: str | None,
    *,
    by: str,
    address: str = "",
    oidc: tuple[str, str] | None = None,
) -> Account:
    """`password` None: by OpenID Connect (issuer, subject) alone. Raises RefusedError."""
    fields = {"name": name, "full_name": full_name, "role": role, "made_at": clock.now(), "local": password is not None}
    try:
        account = msgspec.convert({**fields, "issuer": oidc[0] if oidc else ""}, Account)
    except msgspec.ValidationError as exc:
        raise RefusedError(f"account {name[:64]!r}: {exc}; a name is of a-z, 0-9 and . _ @ + -") from exc
    row = {
        "name": name,
        "full_name": full_name,
        "role": role,
        "password": hashed(password, account) if password is not None else None,
        "issuer": oidc[0] if oidc else None,
        "subject": oidc[1] if oidc else None,
        "made_at": account.made_at,
    }
    with database.write() as connection:
        hold(connection, "accounts")
        if find(connection, name):
            raise RefusedError(f"account {name}: there is one of that name", 409)
        try:
            connection.execute(accounts.insert(), row)
        except IntegrityError as exc:
            raise RefusedError(f"account {name}: another account is that person's of {row['issuer']}", 409) from exc
        audit.record(connection, by, "account.create", address=address, detail={"account": name, "role": role})
    return account


def disable(database: Database, name: str, *, by: str, address: str = "") -> None:
    """Its sessions end at once. Raises RefusedError."""
    _change(database, name, "disable", {"disabled": True}, by, address)


def enable(database: Database, name: str, *, by: str, address: str = "") -> None:
    """Unlocks it, too."""
    _change(database, name, "enable", {"disabled": False, **_UNLOCKED}, by, address)


def set_role(database: Database, name: str, role: str, *, by: str, address: str = "") -> None:
    if role not in ROLES:
        raise RefusedError(f"role {role!r}: expected {', '.join(ROLES)}")
    _change(database, name, "role", {"role": role}, by, address, role=role)


def set_password(
    database: Database, name: str, password: str, *, by: str, address: str = "", but_session: str = ""
) -> None:
    """Its sessions end, but for the one whose digest is `but_session`."""
    with database.read() as connection:
        account = _expected(connection, name)
    values = {"password": hashed(password, account), **_UNLOCKED}
    _change(database, name, "password", values, by, address, but_session=but_session)


_UNLOCKED: dict[str, Any] = {"failed": 0, "locked_until": None}


def _change(
    database: Database,
    name: str,
    what: str,
    values: dict[str, Any],
    by: str,
    address: str,
    *,
    but_session: str = "",
    **detail: str,
) -> None:
    with database.write() as connection:
        hold(connection, "accounts")
        account = _expected(connection, name)
        stays = not values.get("disabled", account.disabled) and values.get("role", account.role) == "admin"
        if account.role == "admin" and not account.disabled and not stays and _admins(connection) == 1:
            raise RefusedError(f"account {name}: the last administrator; make another one first", 409)
        connection.execute(accounts.update().where(accounts.c.name == name).values(values))
        sessions.close_all(connection, name, but=but_session)
        audit.record(connection, by, f"account.{what}", address=address, detail={"account": name, **detail})


def _expected(connection: Connection, name: str) -> Account:
    account = find(connection, name)
    if account is None:
        raise RefusedError(f"account {name[:64]!r}: there is none of that name", 404)
    return account


def _admins(connection: Connection) -> int:
    query = select(func.count()).where(accounts.c.role == "admin", accounts.c.disabled.is_(False))
    return int(connection.execute(query).scalar_one())


def _account(row: Row[Any]) -> Account:
    return Account(
        name=row.name,
        full_name=row.full_name,
        role=row.role,
        disabled=row.disabled,
        local=row.password is not None,
        issuer=row.issuer or "",
        locked_until=row.locked_until or "",
        made_at=row.made_at,
    )


# ------------------------------------------------------------------------------------------- passwords


def hashed(password: str, account: Account) -> str:
    """Raises RefusedError where the password is none that anybody should have."""
    if wrong := unfit(password, account.name, account.full_name):
        raise RefusedError(f"password: {wrong}")
    with _at_work:
        return _hasher.hash(_normal(password))


def unfit(password: str, *names: str) -> str:
    """Why it cannot be one; "" it can. Length and what everybody tries first; no rules of which letters (NIST SP
    800-63B, 5.1.1.2)."""
    if not SHORTEST <= len(password) <= LONGEST:
        return f"{len(password)} characters, expected {SHORTEST} to {LONGEST}"
    if not password.isprintable():
        return "holds a control character"
    bare = re.sub(r"[\W\d_]+", "", password.casefold())
    if bare in _COMMON or bare in {re.sub(r"[\W\d_]+", "", name.casefold()) for name in names} - {""}:
        return "a name or a common word, with nothing but digits and signs around it"
    if len(set(password)) < _DIFFERENT:
        return f"the same letters again and again, expected at least {_DIFFERENT} different ones"
    steps = {(ord(after) - ord(before)) % 10 for before, after in itertools.pairwise(password)}
    if password.isdigit() and (steps <= {1} or steps <= {9}):
        return "digits in their order"
    return ""


def prove(database: Database, name: str, password: str, *, address: str = "", what: str = "login") -> Account:
    """The account whose password this is. Raises RefusedError (401), always with the same words."""
    row, open_ = _counted(database, name.strip().lower())
    with _at_work:
        right = _holds(row.password if row is not None and open_ else None, password)
    if row is None or not right:
        # a name that nobody has may be a password in the wrong field
        detail = {"account": "" if row is None else row.name, "locked": row is not None and not open_}
        with database.write() as connection:
            audit.record(connection, "", f"{what}.failed", address=address, detail=detail)
        raise RefusedError(REFUSED, 401)
    values = dict(_UNLOCKED)
    if _hasher.check_needs_rehash(row.password):
        with _at_work:
            values["password"] = _hasher.hash(_normal(password))
    unchanged = (accounts.c.name == row.name) & (accounts.c.password == row.password)
    with database.write() as connection:
        connection.execute(accounts.update().where(unchanged).values(values))
    return _account(row)


def _counted(database: Database, name: str) -> tuple[Row[Any] | None, bool]:
    """The account, and whether it may be tried now. This try counts as a failure until it proves to be none."""
    if not _NAME.match(name):
        return None, False
    with database.write() as connection:
        row = connection.execute(select(accounts).where(accounts.c.name == name).with_for_update()).one_or_none()
        if row is None or row.disabled or row.password is None or (row.locked_until or "") > clock.now():
            return row, False
        failed = row.failed + 1
        over = min(failed - TRIES, 10)
        until = clock.later(min(LOCK_S * 2**over, LOCK_MOST_S)) if over >= 0 else None
        values = {"failed": failed, "locked_until": until}
        connection.execute(accounts.update().where(accounts.c.name == name).values(values))
    return row, True


def _holds(kept: str | None, password: str) -> bool:
    if len(password) > LONGEST:
        kept, password = None, password[:LONGEST]
    try:
        return _hasher.verify(kept or _nobody(), _normal(password)) and kept is not None
    except (Argon2Error, InvalidHashError, UnicodeEncodeError):
        return False


def _nobody() -> str:
    """A hash of nothing: checking it is the same work as checking any other."""
    sizes = f"m={_hasher.memory_cost},t={_hasher.time_cost},p={_hasher.parallelism}"
    return f"$argon2id$v=19${sizes}${'A' * 22}${'A' * 43}"


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
