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

from server.errors import ServerError
from server.store.database import Database

MOST = 256


class Seats(Protocol):
    """Owned by one thread."""

    def take(self, number: int) -> bool:
        """Whether it was free; then it is ours until `leave`, or until this process is gone."""

    def leave(self, number: int) -> None: ...

    def proven(self) -> None:
        """Raises SQLAlchemyError when what holds them is gone."""

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
        self._connection: Connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def take(self, number: int) -> bool:
        return bool(self._ask("pg_try_advisory_lock", number))

    def leave(self, number: int) -> None:
        self._ask("pg_advisory_unlock", number)

    def proven(self) -> None:
        self._connection.execute(text("SELECT 1"))

    def close(self) -> None:
        with contextlib.suppress(Exception):  # the database may be gone, and our locks with it
            self._connection.invalidate()
            self._connection.close()

    def _ask(self, function: str, number: int) -> object:
        return self._connection.execute(
            text(f"SELECT {function}(:space, :number)"), {"space": self._SPACE, "number": number}
        ).scalar()


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
