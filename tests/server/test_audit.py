from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import Connection, text

from server import audit
from server.clock import now
from server.errors import ServerError
from server.store import tables
from server.store.database import Database

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
from server import audit
from server.store.database import open_database
database = open_database(sys.argv[1], Path(sys.argv[2]))
for turn in range(int(sys.argv[4])):
    with database.write() as connection:
        audit.record(connection, sys.argv[3], "report.read", detail={"turn": turn})
"""


def _write(database: Database, count: int, who: str = "ada") -> None:
    for turn in range(count):
        with database.write() as connection:
            audit.record(connection, who, "report.read", device="box", procedure="P1", detail={"turn": turn})


def _tamper(connection: Connection, statement: str) -> None:
    """As somebody does who owns the database."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE audit DISABLE TRIGGER ALL"))
    else:
        for when in ("insert", "update", "delete"):
            connection.execute(text(f"DROP TRIGGER audit_{when}"))
    connection.execute(text(statement))


def test_lines_follow_each_other(database: Database) -> None:
    assert audit.verify(database).head.number == 0
    _write(database, 3)
    verdict = audit.verify(database)
    assert (verdict.head.number, verdict.wrong, verdict.why) == (3, 0, "")
    with database.read() as connection:
        rows = list(audit.lines(connection))
        assert audit.head(connection) == verdict.head == audit.parse_head(str(verdict.head))
    assert [(row.who, row.what, row.procedure) for row in rows] == [("ada", "report.read", "P1")] * 3


def test_a_chain_longer_than_one_block_is_read_to_its_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_AT_ONCE", 4)
    for count in (8, 1):
        _write(database, count)
        verdict = audit.verify(database)
        assert verdict.wrong == 0
    assert verdict.head.number == 9


@pytest.mark.parametrize(
    ("statement", "wrong", "why"),
    [
        ("UPDATE audit SET who = 'eve' WHERE number = 2", 2, "its content"),
        ("UPDATE audit SET detail = '' WHERE number = 3", 3, "its content"),
        ("UPDATE audit SET hash = previous WHERE number = 2", 2, "its content"),
        ("DELETE FROM audit WHERE number = 2", 2, "missing: line 3 follows line 1"),
        ("DELETE FROM audit WHERE number = 1", 1, "missing"),
        ("UPDATE audit SET previous = hash WHERE number = 4", 4, "does not follow"),
    ],
)
def test_the_first_line_that_does_not_hold_is_named(database: Database, statement: str, wrong: int, why: str) -> None:
    _write(database, 4)
    with database.write() as connection:
        _tamper(connection, statement)
    verdict = audit.verify(database)
    assert (verdict.wrong, verdict.head.number) == (wrong, wrong - 1)
    assert why in verdict.why


def test_a_tail_that_was_cut_off_shows_against_a_head_kept_elsewhere(database: Database) -> None:
    _write(database, 4)
    kept = audit.verify(database).head
    with database.write() as connection:
        _tamper(connection, "DELETE FROM audit WHERE number > 2")
    assert audit.verify(database).wrong == 0  # what is left is a chain
    verdict = audit.verify(database, kept)
    assert (verdict.wrong, verdict.why) == (3, "missing: the chain once reached line 4")
    _write(database, 2, who="eve")  # as long as before, and another
    verdict = audit.verify(database, kept)
    assert (verdict.wrong, verdict.why) == (4, "differs from the head that was kept elsewhere")


def test_a_chain_that_has_grown_agrees_with_an_older_head(database: Database) -> None:
    _write(database, 2)
    kept = audit.verify(database).head
    _write(database, 2)
    assert audit.verify(database, kept).wrong == 0


@pytest.mark.parametrize("text", ["", "3", "x " + "0" * 64, "3 " + "g" * 64, "-1 " + "0" * 64])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ServerError, match="expected a head"):
        audit.parse_head(text)


def test_processes_share_one_chain(database: Database, database_url: str, tmp_path: Path) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", WRITER, database_url, str(tmp_path), f"child{number}", "25"], cwd=ROOT)
        for number in range(3)
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    verdict = audit.verify(database)
    assert (verdict.head.number, verdict.wrong) == (75, 0)


def test_a_line_goes_with_the_transaction_that_it_tells_of(database: Database) -> None:
    def broken() -> None:
        with database.write() as connection:
            audit.record(connection, "ada", "report.sign")
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert audit.verify(database).head.number == 0


def test_what_somebody_sent_is_made_fit_for_a_line(database: Database) -> None:
    with database.write() as connection:
        audit.record(connection, "e\x00v\ud800e\n" + "x" * 100, "login.failed", detail={"said": "a\nb\u2028"})
        with pytest.raises(ValueError, match="expected at most 2000"):
            audit.record(connection, "eve", "login.failed", detail={"said": "x" * 3000})
    with database.read() as connection:
        (row,) = audit.lines(connection)
    assert row.who.startswith("e?v?e?x")
    assert len(row.who) == 64
    assert "\n" not in row.detail
    assert audit.verify(database).wrong == 0


# ------------------------------------------------------------------------------------- what is only added to


def _kept(connection: Connection) -> None:
    """One row in each table that is only added to."""
    audit.record(connection, "ada", "report.read")
    of, at = {"device": "box", "procedure": "P1"}, now()
    record = {"state": "ended", "pipeline": "colonoscopy", "started_at": at, "digest": "0" * 64, "received_at": at}
    connection.execute(tables.records.insert(), {**of, **record, "revision": 1, "body": b"{}"})
    report = {"state": "draft", "what": "drafted", "author": "", "at": at, "body": b"{}"}
    connection.execute(tables.reports.insert(), {**of, **report, "revision": 1, "number": 1})
    connection.execute(tables.joined.insert(), {**of, "number": 1, "body": b"{}", "author": "ada", "at": at})
    question = {"id": "1", "revision": 1, "account": "ada", "question": "?", "answer": b"{}"}
    connection.execute(tables.questions.insert(), {**of, **question, "at": at})


_CHANGES = {
    "audit": "who = 'eve'",
    "records": "state = 'x'",
    "reports": "author = 'eve'",
    "joined": "author = 'eve'",
    "questions": "account = 'eve'",
}


@pytest.mark.parametrize("table", _CHANGES)
def test_the_database_refuses_to_change_or_delete(database: Database, table: str) -> None:
    with database.write() as connection:
        _kept(connection)
    for statement in (f"UPDATE {table} SET {_CHANGES[table]}", f"DELETE FROM {table}"):
        with pytest.raises(ServerError, match=f"{table} is only added to"), database.write() as connection:
            connection.execute(text(statement))
    if not database.is_sqlite:
        with pytest.raises(ServerError, match="is only added to"), database.write() as connection:
            connection.execute(text(f"TRUNCATE {table} CASCADE"))
    with database.read() as connection:
        assert connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(text(table))).scalar() == 1


def test_sqlite_refuses_to_replace_a_line(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("INSERT OR REPLACE is SQLite's")
    _write(database, 1)
    with pytest.raises(ServerError, match="audit is only added to"), database.write() as connection:
        connection.execute(text("INSERT OR REPLACE INTO audit SELECT * FROM audit"))


def _bury(connection: Connection, procedure: str) -> None:
    row = {"device": "box", "procedure": procedure, "at": now(), "by": "cli:root", "reason": "order"}
    connection.execute(tables.erased.insert(), row)


def test_a_tombstone_lets_the_rows_of_its_procedure_go_and_none_come_back(database: Database) -> None:
    with database.write() as connection:
        _kept(connection)
        _bury(connection, "P2")
    with pytest.raises(ServerError, match="only added to"), database.write() as connection:
        connection.execute(tables.joined.delete())  # P2's stone is not P1's
    with database.write() as connection:
        _bury(connection, "P1")
        for table in (tables.questions, tables.joined, tables.reports, tables.records):
            connection.execute(table.delete())
    with pytest.raises(ServerError, match="was erased"), database.write() as connection:
        _kept(connection)
    with pytest.raises(ServerError, match="erased is only added to"), database.write() as connection:
        connection.execute(tables.erased.delete())
