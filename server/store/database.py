"""One database, SQLite or PostgreSQL, behind the same statements (SQLAlchemy Core).

`read()` and `write()` lend a connection in a transaction. On SQLite a write takes the file's lock at once (`BEGIN
IMMEDIATE`), so that nothing which was read in it can have changed before it is committed; on PostgreSQL whoever needs
that takes a lock by name (`hold`). Callable from any thread.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from server.errors import ServerError

SQLITE_FILE = "server.db"
_WAIT_S = 30  # for another writer
# A machine that lost its power says nothing: both sides find out within half a minute, and its locks are free.
_ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
_SESSION = (
    "-c timezone=UTC -c lock_timeout=30000 -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 "
    "-c tcp_keepalives_count=3 -c tcp_user_timeout=25000"
)


class Database:
    """Raises ServerError where it cannot be reached, and says which it is without its password."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.name = engine.url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        with self._told(), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Committed when the block ends, undone when it raises."""
        connect = self.engine.connect
        with self._told(), connect().execution_options(endoedge_write=True) as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as exc:
            raise ServerError(f"database {self.name}: {str(exc.orig).strip().splitlines()[0]}") from exc
        except SQLAlchemyError as exc:
            raise ServerError(f"database {self.name}: {exc}") from exc

    def forget(self) -> None:
        """What was deleted is in SQLite's files no more, as soon as nobody reads what was before. PostgreSQL's VACUUM
        does that in its own time."""
        if self.is_sqlite:
            with self._told(), contextlib.closing(self.engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def close(self) -> None:
        self.engine.dispose()


def url_of(database: str, folder: Path) -> str:
    """As SQLAlchemy wants it; "" is SQLite in `folder`."""
    if not database:
        return f"sqlite:///{folder / SQLITE_FILE}"
    return str(database).replace("postgresql://", "postgresql+psycopg://", 1)


def open_database(database: str, folder: Path, *, connections: int = 10) -> Database:
    """Raises ServerError. Its tables are `migrate`'s matter."""
    if not database:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise ServerError(f"{folder}: {exc.strerror}") from exc
    try:
        url = make_url(url_of(database, folder))
        engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url, connections)
    except SQLAlchemyError as exc:
        raise ServerError(f"database: {exc}") from exc
    return Database(engine)


def _postgresql(url: sqlalchemy.URL, connections: int) -> Engine:
    return sqlalchemy.create_engine(
        url,
        pool_size=connections,
        max_overflow=connections,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10, "options": _SESSION, **_ALIVE},
    )


def _sqlite(url: sqlalchemy.URL) -> Engine:
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": _WAIT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are ours, below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        at_once = connection.get_execution_options().get("endoedge_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if at_once else "BEGIN")

    return engine


def hold(connection: Connection, name: str) -> None:
    """Until this transaction ends nobody else goes on who holds the same name. SQLite's writers wait anyhow."""
    if connection.dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})
