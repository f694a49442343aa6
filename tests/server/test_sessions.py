from __future__ import annotations

import pytest
from sqlalchemy import select

from server import accounts, clock, sessions
from server.store import tables
from server.store.database import Database

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def token(database: Database) -> str:
    accounts.create(database, "ada", "Ada Lovelace", "clinician", "the blue door squeaks", by="cli:root")
    return sessions.open_session(database, "ada", address="192.0.2.1")


def _set(database: Database, **values: str) -> None:
    with database.write() as connection:
        connection.execute(tables.sessions.update().values(values))


def test_a_token_is_a_session_and_the_table_does_not_have_it(database: Database, token: str) -> None:
    session = sessions.find(database, token)
    assert session is not None
    assert (session.account, session.full_name, session.role, session.local) == (
        "ada",
        "Ada Lovelace",
        "clinician",
        True,
    )
    assert session.proven
    with database.read() as connection:
        assert token not in str(connection.execute(select(tables.sessions)).all())


@pytest.mark.parametrize("wrong", ["", "x", "x" * 43, "x" * 5000, "\ud800" * 43, "\x00" * 43])
def test_another_token_is_none(database: Database, token: str, wrong: str) -> None:
    assert sessions.find(database, wrong) is None


def test_its_digest_is_no_token(database: Database, token: str) -> None:
    session = sessions.find(database, token)
    assert session is not None
    assert sessions.find(database, session.digest) is None


def test_it_ends_when_nobody_is_there(database: Database, token: str) -> None:
    _set(database, seen_at=clock.later(-sessions.IDLE_S + 60))
    assert sessions.find(database, token, touch=False)
    assert sessions.find(database, token)  # somebody is
    _set(database, proven_at=clock.later(-1))
    with database.read() as connection:
        assert str(connection.execute(select(tables.sessions.c.seen_at)).scalar()) > clock.later(-60)
    _set(database, seen_at=clock.later(-sessions.IDLE_S))
    assert sessions.find(database, token) is None


def test_a_look_does_not_keep_it_alive(database: Database, token: str) -> None:
    before = clock.later(-600)
    _set(database, seen_at=before)
    assert sessions.find(database, token, touch=False)
    with database.read() as connection:
        assert connection.execute(select(tables.sessions.c.seen_at)).scalar() == before


def test_it_ends_after_a_day_s_work(database: Database, token: str) -> None:
    session = sessions.find(database, token)
    assert session is not None
    assert clock.later(sessions.LONGEST_S - 60) < session.ends_at <= clock.later(sessions.LONGEST_S)
    _set(database, ends_at=clock.now())
    assert sessions.find(database, token) is None


def test_what_has_ended_is_cleared_away(database: Database, token: str) -> None:
    _set(database, ends_at=clock.now())
    sessions.open_session(database, "ada")
    with database.read() as connection:
        assert len(connection.execute(select(tables.sessions)).all()) == 1


def test_signing_needs_a_person_who_showed_lately_who_it_is(database: Database, token: str) -> None:
    _set(database, proven_at=clock.later(-sessions.PROVEN_S))
    session = sessions.find(database, token)
    assert session is not None
    assert not session.proven
    sessions.proven(database, session)
    session = sessions.find(database, token)
    assert session is not None
    assert session.proven


def test_a_session_that_is_closed_is_over(database: Database, token: str) -> None:
    other = sessions.open_session(database, "ada")
    session = sessions.find(database, token)
    assert session is not None
    sessions.close(database, session)
    assert sessions.find(database, token) is None
    assert sessions.find(database, other)
