from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from server import worker
from server.errors import ServerError
from server.store.database import Database, open_database
from server.worker import seated


def test_each_has_the_lowest_free_seat_until_it_is_gone(database: Database, tmp_path: Path) -> None:
    with seated(database, tmp_path) as (first, one):
        with seated(database, tmp_path) as (second, two):
            assert (one, two) == (1, 2)
            assert not second.take(1)
            second.proven()
        assert first.take(2)
        with seated(database, tmp_path) as (_, three):
            assert three == 3
            first.leave(2)
            with seated(database, tmp_path) as (_, again):
                assert again == 2
    with seated(database, tmp_path) as (_, number):
        assert number == 1


def test_when_all_are_taken_it_says_so(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MOST", 1)
    with (
        seated(database, tmp_path),
        pytest.raises(ServerError, match="1 workers run already on "),
        seated(database, tmp_path),
    ):
        pass


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_seat_whose_connection_broke_is_lost_for_good(database: Database, tmp_path: Path) -> None:
    with seated(database, tmp_path) as (seats, _):
        with database.write() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            connection.execute(text(f"{others} AND datname = current_database()"))
        for _ in range(2):
            with pytest.raises(ServerError, match="the connection that holds a worker's seat"):
                seats.proven()
        with seated(database, tmp_path) as (_, number):
            assert number == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_folder_that_cannot_be_made_is_named(database: Database, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=str(tmp_path / "file")), seated(database, tmp_path / "file"):
        pass


def test_a_database_that_is_away_is_named(tmp_path: Path) -> None:
    away = open_database("postgresql://ada:geheim@127.0.0.1:1/reports", tmp_path)
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:1/reports") as told, seated(away, tmp_path):
        pass
    assert "geheim" not in str(told.value)
    away.close()
