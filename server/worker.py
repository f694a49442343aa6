"""Which worker this is: the lowest free number, held by a lock that dies with the process.

The number is what durable jobs know a process by. Whoever can take a number whose jobs are not done knows that their
worker is dead, and has them go on elsewhere: by the lock, and not by a time that has passed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from server.errors import ServerError
from server.store.database import Database

MOST = 256


class Seats(Protocol):
    """Owned by one thread."""

    def take(self, number: int) -> bool:
        """Whether it was free; then it is ours until `leave`, or until this process is gone."""

    def leave(self, number: int) -> None: ...

    def proven(self) -> None:
        """Raises ServerError when what holds them is gone."""

    def close(self) -> None: ...


class Files:
    """Beside an SQLite database."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._held = folder, dict[int, int]()

    def take(self, number: int) -> bool:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(self._folder / f"worker-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise ServerError(f"{self._folder}: {exc.strerror}") from exc
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._held[number] = file
        return True

    def leave(self, number: int) -> None:
        os.close(self._held.pop(number))

    def proven(self) -> None:
        pass

    def close(self) -> None:
        for number in list(self._held):
            self.leave(number)


class Locks:
    """PostgreSQL's advisory locks, on one connection that is kept for them."""

    _SPACE = 0x456E_646F  # of two-part keys, so that `hold`'s names are never met

    def __init__(self, database: Database) -> None:
        self._database = database
        with _told(database):
            self._connection: Connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def take(self, number: int) -> bool:
        """A session may take a lock that it holds once more: nobody asks for what is ours."""
        return bool(self._ask("SELECT pg_try_advisory_lock(:space, :number)", number))

    def leave(self, number: int) -> None:
        self._ask("SELECT pg_advisory_unlock(:space, :number)", number)

    def proven(self) -> None:
        """The locks are the session's, and a session that broke is not mended: this one would raise from now on."""
        self._ask("SELECT 1", 0)

    def close(self) -> None:
        with contextlib.suppress(Exception):  # the database may be gone, and our locks with it
            self._connection.execute(text("SELECT pg_advisory_unlock_all()"))  # at once: a session ends in its own time
        with contextlib.suppress(Exception):
            self._connection.invalidate()
            self._connection.close()

    def _ask(self, query: str, number: int) -> object:
        with _told(self._database):
            asked = text(query)
            names = {"space": self._SPACE, "number": number}
            return self._connection.execute(asked, names if ":space" in query else {}).scalar()


@contextlib.contextmanager
def _told(database: Database) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as exc:
        reason = str(getattr(exc, "orig", None) or exc).strip().splitlines()[0]
        raise ServerError(f"database {database.name}: the connection that holds a worker's seat: {reason}") from exc


@contextlib.contextmanager
def seated(database: Database, folder: Path) -> Iterator[tuple[Seats, int]]:
    """The seats, and the number that is ours. Raises ServerError when all are taken."""
    seats: Seats = Files(folder) if database.is_sqlite else Locks(database)
    try:
        for number in range(1, MOST + 1):
            if seats.take(number):
                yield seats, number
                return
        raise ServerError(f"{MOST} workers run already on {database.name}")
    finally:
        seats.close()


def seats_taken(database: Database, folder: Path) -> list[int]:
    """Numbers of the workers that run. Raises ServerError."""
    if not database.is_sqlite:
        held = "SELECT DISTINCT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = :space AND granted"
        here = "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY objid"
        with database.read() as connection:
            return [int(row[0]) for row in connection.execute(text(f"{held} {here}"), {"space": Locks._SPACE})]
    files = sorted(folder.glob("worker-*"), key=lambda file: int(file.name.rpartition("-")[2]))
    return [int(file.name.rpartition("-")[2]) for file in files if _is_held(file)]


def _is_held(file: Path) -> bool:
    """A worker that looks for a seat at this very moment takes the next one."""
    with contextlib.suppress(FileNotFoundError), file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
