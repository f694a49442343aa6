from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from server import accounts, audit, clock, sessions
from server import role as role_of
from server.accounts import Account
from server.errors import RefusedError
from server.role import Role
from server.store import tables
from server.store.database import Database

pytestmark = pytest.mark.usefixtures("quick_passwords")
PASSWORD = "the blue door squeaks"


def _ada(database: Database, name: str = "ada", role: str = "clinician") -> Account:
    return accounts.create(database, name, "Ada Lovelace", role, PASSWORD, by="cli:root")


def _lines(database: Database) -> list[tuple[str, str, str]]:
    with database.read() as connection:
        return [(row.who, row.what, row.detail) for row in audit.lines(connection)]


def _locked_until(database: Database, name: str = "ada") -> str:
    with database.read() as connection:
        return str(
            connection.execute(select(tables.accounts.c.locked_until).where(tables.accounts.c.name == name)).scalar()
        )


def _wait_out(database: Database, name: str = "ada") -> None:
    """The lock's end comes."""
    with database.write() as connection:
        at = tables.accounts.c.name == name
        connection.execute(tables.accounts.update().where(at).values(locked_until=clock.later(-1)))


def test_whoever_has_the_password_is_the_account(database: Database) -> None:
    made = _ada(database)
    assert accounts.prove(database, "ada", PASSWORD) == made
    assert accounts.prove(database, " Ada ", PASSWORD).full_name == "Ada Lovelace"
    assert accounts.everybody(database) == [made]
    with database.read() as connection:
        kept = connection.execute(select(tables.accounts.c.password)).scalar()
    assert str(kept).startswith("$argon2id$")


def test_the_work_is_as_large_as_the_library_advises() -> None:
    """Outside of tests: RFC 9106's second recommendation."""
    asked = PasswordHasher()
    assert (asked.time_cost, asked.memory_cost) >= (3, 65_536)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ada", "wrong"),
        ("ada", PASSWORD + " "),
        ("ada", ""),
        ("ada", "x" * 100_000),
        ("ada", "\ud800"),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("a\x00da", PASSWORD),
        ("ada' OR 1=1 --", PASSWORD),
    ],
)
def test_every_refusal_has_the_same_words(database: Database, name: str, password: str) -> None:
    _ada(database)
    with pytest.raises(RefusedError) as told:
        accounts.prove(database, name, password, address="192.0.2.1")
    assert (str(told.value), told.value.status) == (accounts.REFUSED, 401)
    assert _lines(database)[-1][1] == "login.failed"


def test_a_name_that_nobody_has_is_not_written_down(database: Database) -> None:
    """It may be a password in the wrong field."""
    with pytest.raises(RefusedError):
        accounts.prove(database, PASSWORD, "x")
    assert PASSWORD not in str(_lines(database))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_name_that_nobody_has_costs_the_same_work(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    _ada(database)
    worked: list[str] = []
    verify = PasswordHasher.verify

    def counting(self: PasswordHasher, kept: str, password: str) -> bool:
        worked.append(kept.rsplit("$", 2)[0])
        return verify(self, kept, password)

    monkeypatch.setattr(PasswordHasher, "verify", counting)
    for name in ("ada", "nobody", "not a name"):
        with pytest.raises(RefusedError):
            accounts.prove(database, name, "wrong")
    assert len(worked) == 3
    assert len(set(worked)) == 1  # the same parameters


def test_an_account_is_locked_after_five_tries_and_longer_each_time(database: Database) -> None:
    _ada(database)

    def fail() -> None:
        with pytest.raises(RefusedError):
            accounts.prove(database, "ada", "wrong")

    for _ in range(4):
        fail()
    assert accounts.prove(database, "ada", PASSWORD)  # and the count starts anew
    for _ in range(5):
        fail()
    for seconds in (60, 120, 240, 480, 900, 900):
        assert clock.later(seconds - 30) < _locked_until(database) <= clock.later(seconds)
        with pytest.raises(RefusedError):  # even with the right one
            accounts.prove(database, "ada", PASSWORD)
        _wait_out(database)
        fail()
    _wait_out(database)
    assert accounts.prove(database, "ada", PASSWORD).name == "ada"
    assert _locked_until(database) == "None"


def test_guesses_at_the_same_time_do_not_pass_the_lock(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    _ada(database)
    judged: list[str] = []
    holds = accounts._holds

    def counting(kept: str | None, password: str) -> bool:
        if kept is not None:
            judged.append(password)
        return holds(kept, password)

    monkeypatch.setattr(accounts, "_holds", counting)

    def guess(number: int) -> bool:
        try:
            accounts.prove(database, "ada", f"guess {number}")
        except RefusedError:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert not any(pool.map(guess, range(24)))
    assert len(judged) == accounts.TRIES


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "5 characters, expected 12 to 256"),
        ("x" * 257, "257 characters"),
        ("Ada-Lovelace-1815", "a name or a common word"),
        ("Password123456", "a name or a common word"),
        ("endoedge 2026!", "a name or a common word"),
        ("abababababab", "the same letters"),
        ("123456789012", "digits in their order"),
        ("210987654321", "digits in their order"),
        ("the blue\x00door squeaks", "control character"),
    ],
)
def test_what_anybody_would_guess_is_no_password(database: Database, password: str, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        accounts.create(database, "ada", "Ada Lovelace", "viewer", password, by="cli:root")
    assert accounts.everybody(database) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("password", ["correct horse", "ÄÖÜß€µ日本語のパス", "aaaaaaaabcde", "ada likes the sea"])
def test_no_rule_says_which_letters(database: Database, password: str) -> None:
    accounts.create(database, "ada", "Ada Lovelace", "viewer", password, by="cli:root")
    assert accounts.prove(database, "ada", password)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_letter_written_in_two_ways_is_one(database: Database) -> None:
    accounts.create(database, "ada", "Ada", "viewer", "die Tür quietscht", by="cli:root")
    assert accounts.prove(database, "ada", "die Tu\u0308r quietscht")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("name", "full_name", "role"),
    [
        ("Ada", "Ada", "viewer"),
        ("a da", "Ada", "viewer"),
        ("x" * 65, "Ada", "viewer"),
        ("ada\n", "Ada", "viewer"),
        ("ada", "", "viewer"),
        ("ada", "A^B", "viewer"),
        ("ada", "A\nB", "viewer"),
        ("ada", "Ada", "root"),
    ],
)
def test_an_account_that_is_none(database: Database, name: str, full_name: str, role: str) -> None:
    with pytest.raises(RefusedError, match="account"):
        accounts.create(database, name, full_name, role, PASSWORD, by="cli:root")


def test_two_of_one_name(database: Database) -> None:
    _ada(database)
    with pytest.raises(RefusedError, match="there is one of that name"):
        _ada(database)


def test_two_of_one_person_of_a_provider(database: Database) -> None:
    person = ("https://id.example", "4711")
    accounts.create(database, "ada", "Ada", "viewer", None, by="oidc", oidc=person)
    with pytest.raises(RefusedError, match="another account is that person's"):
        accounts.create(database, "ada2", "Ada", "viewer", None, by="oidc", oidc=person)
    with pytest.raises(RefusedError):  # has no password
        accounts.prove(database, "ada", "")


def test_whoever_is_disabled_is_out_at_once(database: Database) -> None:
    _ada(database)
    token = sessions.open_session(database, "ada")
    assert sessions.find(database, token)
    accounts.disable(database, "ada", by="cli:root")
    assert sessions.find(database, token) is None
    with pytest.raises(RefusedError):
        accounts.prove(database, "ada", PASSWORD)
    accounts.enable(database, "ada", by="cli:root")
    assert sessions.find(database, token) is None
    assert accounts.prove(database, "ada", PASSWORD)
    assert [what for _, what, _ in _lines(database)][-3:] == ["account.disable", "login.failed", "account.enable"]


def test_another_password_ends_all_sessions_but_the_one_that_changed_it(database: Database) -> None:
    _ada(database)
    here, there = sessions.open_session(database, "ada"), sessions.open_session(database, "ada")
    session = sessions.find(database, here)
    assert session is not None
    accounts.set_password(database, "ada", "a quite different one", by="ada", but_session=session.digest)
    assert sessions.find(database, here)
    assert sessions.find(database, there) is None
    with pytest.raises(RefusedError):
        accounts.prove(database, "ada", PASSWORD)
    assert accounts.prove(database, "ada", "a quite different one")
    assert "different" not in str(_lines(database))


def test_the_last_administrator_stays(database: Database) -> None:
    _ada(database, role="admin")
    with pytest.raises(RefusedError, match="the last administrator"):
        accounts.disable(database, "ada", by="cli:root")
    with pytest.raises(RefusedError, match="the last administrator"):
        accounts.set_role(database, "ada", "viewer", by="cli:root")
    _ada(database, "grace", role="admin")
    accounts.set_role(database, "ada", "viewer", by="grace")
    assert [account.role for account in accounts.everybody(database)] == ["viewer", "admin"]


def test_what_is_asked_of_nobody_is_refused(database: Database) -> None:
    for change in (accounts.disable, accounts.enable):
        with pytest.raises(RefusedError, match="there is none of that name"):
            change(database, "nobody", by="cli:root")
    with pytest.raises(RefusedError, match="expected viewer, clinician, admin"):
        accounts.set_role(database, "nobody", "root", by="cli:root")


def test_a_hash_with_less_work_is_made_anew(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    _ada(database)
    monkeypatch.setattr(accounts, "_hasher", PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    for _ in range(2):
        accounts.prove(database, "ada", PASSWORD)
    with database.read() as connection:
        assert "m=16,t=2" in str(connection.execute(select(tables.accounts.c.password)).scalar())


@pytest.mark.parametrize(
    ("role", "wanted", "may"),
    [
        ("viewer", "viewer", True),
        ("viewer", "clinician", False),
        ("clinician", "viewer", True),
        ("admin", "clinician", True),
        ("clinician", "admin", False),
        ("", "viewer", False),
    ],
)
def test_roles(role: str, wanted: Role, may: bool) -> None:
    assert role_of.may(role, wanted) is may
