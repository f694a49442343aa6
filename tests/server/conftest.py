"""What the report server's tests share: both databases, real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from server import accounts
from server.store.database import Database, open_database
from server.store.migrate import migrate
from tests.support import postgresql
from tests.support.postgresql import PostgreSQL


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    if reason := postgresql.missing():
        pytest.skip(reason)
    with PostgreSQL() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """As `server.toml` has it: "" is SQLite."""
    if request.param == "sqlite":
        return ""
    running: PostgreSQL = request.getfixturevalue("postgresql_server")
    return running.url()


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """With its tables, empty."""
    opened = open_database(database_url, tmp_path)
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id with next to no work."""
    monkeypatch.setattr(accounts, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
