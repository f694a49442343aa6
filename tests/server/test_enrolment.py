from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from server import audit, clock, enrolment
from server.errors import RefusedError
from server.store import tables
from server.store.database import Database


def test_a_code_becomes_a_token(database: Database) -> None:
    code = enrolment.make_code(database, "or-3", "ada")
    assert re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}", code)
    token = enrolment.enrol(database, "or-3", code, address="192.0.2.1")
    assert enrolment.box_of(database, token) == "or-3"
    (box,) = enrolment.boxes(database)
    assert (box.device, box.enrolled_by, box.revoked_at) == ("or-3", "ada", "")
    assert box.seen_at
    with database.read() as connection:
        kept = str(connection.execute(select(tables.boxes)).all()) + str(connection.execute(select(tables.codes)).all())
        assert [row.what for row in audit.lines(connection)] == ["box.code", "box.enrol"]
    assert token not in kept
    assert code not in kept


def test_a_code_as_a_person_types_it(database: Database) -> None:
    code = enrolment.make_code(database, "or-3", "ada")
    typed = f" {code.lower().replace('-', ' ').replace('0', 'o').replace('1', 'l')}\n"
    assert enrolment.enrol(database, "or-3", typed)


@pytest.mark.parametrize("turn", range(3))
def test_a_code_is_good_once_also_in_a_race(database: Database, turn: int) -> None:
    code = enrolment.make_code(database, "or-3", "ada")

    def enrol(_: int) -> str:
        try:
            return enrolment.enrol(database, "or-3", code)
        except RefusedError:
            return ""

    with ThreadPoolExecutor(6) as pool:
        tokens = [token for token in pool.map(enrol, range(6)) if token]
    assert len(tokens) == 1
    assert enrolment.box_of(database, tokens[0]) == "or-3"


def test_two_codes_of_one_device_at_once_leave_one_token(database: Database) -> None:
    codes = [enrolment.make_code(database, "or-3", "ada") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        tokens = list(pool.map(lambda code: enrolment.enrol(database, "or-3", code), codes))
    assert [enrolment.box_of(database, token) for token in tokens].count("or-3") == 1
    assert len(enrolment.boxes(database)) == 1


def test_a_code_is_for_its_device_and_stays_good(database: Database) -> None:
    code = enrolment.make_code(database, "or-3", "ada")
    for device in ("or-4", "", "or-3 ", "\x00", "OR-3"):
        with pytest.raises(RefusedError, match="expected a code of this device") as told:
            enrolment.enrol(database, device, code)
        assert told.value.status == 403
    assert enrolment.enrol(database, "or-3", code)


def test_a_code_ends(database: Database) -> None:
    code = enrolment.make_code(database, "or-3", "ada", hours=1)
    with database.write() as connection:
        connection.execute(tables.codes.update().values(ends_at=clock.now()))
    with pytest.raises(RefusedError):
        enrolment.enrol(database, "or-3", code)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("hours", [0, -1, 1000, float("nan"), float("inf")])
def test_a_code_for_ever_is_not_made(database: Database, hours: float) -> None:
    with pytest.raises(RefusedError, match="hours: expected"):
        enrolment.make_code(database, "or-3", "ada", hours)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("device", ["", "a b", "x" * 65, "a/b", "or-3\n", "-x"])
def test_a_code_for_no_device_is_not_made(database: Database, device: str) -> None:
    with pytest.raises(RefusedError, match="expected a name of"):
        enrolment.make_code(database, device, "ada")


def test_a_second_enrolment_takes_the_place_of_the_first(database: Database) -> None:
    first = enrolment.enrol(database, "or-3", enrolment.make_code(database, "or-3", "ada"))
    second = enrolment.enrol(database, "or-3", enrolment.make_code(database, "or-3", "ada"))
    assert enrolment.box_of(database, first) is None
    assert enrolment.box_of(database, second) == "or-3"


def test_whoever_is_revoked_is_out_until_enrolled_again(database: Database) -> None:
    token = enrolment.enrol(database, "or-3", enrolment.make_code(database, "or-3", "ada"))
    unused = enrolment.make_code(database, "or-3", "ada")
    enrolment.revoke(database, "or-3", by="ada")
    assert enrolment.box_of(database, token) is None
    assert enrolment.boxes(database)[0].revoked_at
    with pytest.raises(RefusedError):
        enrolment.enrol(database, "or-3", unused)
    again = enrolment.enrol(database, "or-3", enrolment.make_code(database, "or-3", "ada"))
    assert enrolment.box_of(database, again) == "or-3"
    assert enrolment.boxes(database)[0].revoked_at == ""


def test_a_device_that_nobody_knows_is_not_revoked(database: Database) -> None:
    with pytest.raises(RefusedError, match="there is none of that name"):
        enrolment.revoke(database, "or-9", by="ada")


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "x" * 5000, "\ud800" * 40])
def test_another_token_is_of_no_box(database: Database, token: str) -> None:
    enrolment.enrol(database, "or-3", enrolment.make_code(database, "or-3", "ada"))
    assert enrolment.box_of(database, token) is None


def test_a_certificate_that_was_renewed_counts_from_its_first_use(database: Database) -> None:
    """Until then the box may not have got it: its older one stays good."""
    old, new, newer = "a" * 64, "b" * 64, "c" * 64
    assert enrolment.enrol(database, "or-3", enrolment.make_code(database, "or-3", "ada"), certificate=old) == ""
    enrolment.renew(database, "or-3", new)
    enrolment.renew(database, "or-3", newer)  # the first answer was lost
    assert enrolment.box_of_certificate(database, new) is None
    assert enrolment.box_of_certificate(database, old) == "or-3"
    assert enrolment.box_of_certificate(database, newer) == "or-3"
    assert enrolment.box_of_certificate(database, old) is None
    assert enrolment.box_of_certificate(database, newer) == "or-3"
    enrolment.revoke(database, "or-3", by="ada")
    assert enrolment.box_of_certificate(database, newer) is None
    with pytest.raises(RefusedError, match="no certificate"):
        enrolment.renew(database, "or-3", old)
