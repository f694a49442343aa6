from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from server.clock import now
from server.errors import ServerError
from server.store.database import Database, hold, open_database
from server.store.migrate import behind, migrate
from server.store.tables import audit, codes, metadata


def _code(name: str) -> dict[str, object]:
    return {"code": name, "device": "box", "made_by": "ada", "made_at": now(), "ends_at": now()}


def test_migrations_give_the_tables_that_the_code_has(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert behind(database) == ""
    migrate(database)


def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    def broken() -> None:
        with database.write() as connection:
            connection.execute(codes.insert(), _code("a"))
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    with database.read() as connection:
        assert connection.execute(codes.select()).all() == []


def test_writers_that_hold_a_name_go_one_after_the_other(database: Database) -> None:
    """Each reads the highest number and adds the next: without the lock two would find the same."""

    def add() -> None:
        for _ in range(10):
            with database.write() as connection:
                hold(connection, "audit")
                last = connection.execute(sqlalchemy.select(sqlalchemy.func.max(audit.c.number))).scalar() or 0
                row = {
                    "number": last + 1,
                    "at": now(),
                    "who": "",
                    "address": "",
                    "what": "",
                    "previous": "",
                    "hash": "",
                }
                connection.execute(audit.insert(), row)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(audit)).scalar() == 40


def test_a_database_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    database = open_database("postgresql://ada:geheim@127.0.0.1:1/reports", tmp_path)
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:1/reports") as told:
        migrate(database)
    assert "geheim" not in str(told.value)
    database.close()


def test_a_newer_database_is_left_alone(database: Database) -> None:
    with database.write() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'x999'"))
    with pytest.raises(ServerError, match="newer than this program"):
        migrate(database)
    assert "x999" in behind(database)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerError, match=str(tmp_path / "file")):
        open_database("", tmp_path / "file" / "data")
