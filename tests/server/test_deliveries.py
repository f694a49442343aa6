"""What is owed, on both databases, and the command that shows it. No worker: what a try comes to is said here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from server import audit, cli, deliveries
from server.clock import later, now
from server.config import Service
from server.deliveries import BACKOFF_S, LAG_S, Row
from server.errors import RefusedError
from server.export.send import Pacs
from server.reports import Key
from server.store.database import Database, open_database
from server.store.migrate import migrate
from server.store.tables import deliveries as table
from tests.support.signing import OTHER, Desk
from tools.export_example import PATIENT

PACS = Pacs(host="pacs", called="PACS")
FHIR = Service(url="https://fhir.example/base")


@pytest.fixture
def desk(tmp_path: Path, database: Database, database_url: str) -> Desk:
    return Desk(tmp_path, database, database_url, pacs=PACS, fhir=FHIR)


def due(desk: Desk) -> list[Row]:
    with desk.database.read() as connection:
        return deliveries.due(connection, 10)


def begin(desk: Desk, row: Row) -> int | None:
    with desk.database.write() as connection:
        return deliveries.begin(connection, row)


def settle(desk: Desk, row: Row, state: Any, said: str = "", **more: Any) -> str | None:
    with desk.database.write() as connection:
        return deliveries.settle(connection, row, state, said, **more)


def tried(desk: Desk, row: Row, state: Any, said: str = "", **more: Any) -> str | None:
    assert begin(desk, row) is not None
    return settle(desk, row, state, said, **more)


def make_due(desk: Desk) -> None:
    """As if the time had passed."""
    with desk.database.write() as connection:
        connection.execute(update(table).where(table.c.state == "waiting").values(at=now()))


def the(rows: list[Row], target: str) -> Row:
    (found,) = (row for row in rows if row.target == target)
    return found


def test_a_draft_is_owed_to_nobody_unless_a_site_says_so(desk: Desk) -> None:
    assert desk.of(desk.draft("a")) == []
    desk.configure(pacs=PACS, drafts=True)
    key = desk.draft("b")
    assert desk.states(key) == {(1, "pacs"): "waiting"}
    assert [one.patient for one in desk.of(key)] == [0]


def test_a_signature_owes_to_every_system_under_the_patient(desk: Desk) -> None:
    key = desk.draft()
    desk.sign(key)
    assert desk.states(key) == {(2, "pacs"): "waiting", (2, "fhir"): "waiting"}
    assert {one.patient for one in desk.of(key)} == {1}
    with desk.database.write() as connection:
        assert deliveries.owe(connection, desk.config, key, 2) == 2  # again: no more
        with pytest.raises(RefusedError, match="no version 7"):
            deliveries.owe(connection, desk.config, key, 7)
    assert len(due(desk)) == 2


def test_a_try_begins_once_for_each_time_it_is_due(desk: Desk) -> None:
    key = desk.draft()
    desk.sign(key)
    row = the(due(desk), "fhir")
    assert begin(desk, row) == 1
    assert the(due(desk), "fhir") == row  # who has it is not told twice: the same id
    assert settle(desk, row, "waiting", "away") == "waiting"
    assert begin(desk, row) is None
    assert settle(desk, row, "sent") is None
    make_due(desk)
    again = the(due(desk), "fhir")
    assert again != row
    assert tried(desk, again, "sent", "taken") == "sent"
    assert [(one.tries, one.said) for one in desk.of(key) if one.target == "fhir"] == [(2, "taken")]


def test_it_waits_longer_and_longer_but_no_minute(desk: Desk) -> None:
    desk.sign(desk.draft())
    for wait_s in (*BACKOFF_S, BACKOFF_S[-1]):
        row, least = the(due(desk), "fhir"), later(wait_s)
        tried(desk, row, "waiting")
        (at,) = (one.at for one in desk.of(row.key) if one.target == "fhir")
        assert least < at < later(wait_s)
        make_due(desk)
    assert BACKOFF_S[-1] + LAG_S < 60


def test_what_waits_for_a_system_that_is_away_is_put_off_with_it(desk: Desk) -> None:
    keys = [desk.draft(name) for name in "ab"]
    for key in keys:
        desk.sign(key)
    first, second = (row for row in due(desk) if row.target == "fhir")
    assert tried(desk, first, "waiting", "does not answer", away=True) == "waiting"
    assert [row.target for row in due(desk)] == ["pacs", "pacs"]
    assert begin(desk, second) is None  # it lay in a queue already
    one, other = (next(one for one in desk.of(row.key) if one.target == "fhir") for row in (first, second))
    assert one.at < other.at < later(BACKOFF_S[0] + LAG_S + 1)
    assert other.tries == 0


def test_only_the_newest_version_counts(desk: Desk) -> None:
    key = desk.draft()
    desk.sign(key)
    waiting = the(due(desk), "fhir")
    desk.amend(key)
    assert {state for (number, _), state in desk.states(key).items() if number == 2} == {"superseded"}
    assert begin(desk, waiting) is None
    assert {row.number for row in due(desk)} == {3}
    tried(desk, the(due(desk), "fhir"), "refused", "no")
    desk.amend(key)
    assert desk.states(key)[3, "fhir"] == "superseded"


def test_an_older_one_in_hand_holds_the_newer_one_back(desk: Desk) -> None:
    key = desk.draft()
    desk.sign(key)
    older = the(due(desk), "fhir")
    begin(desk, older)
    desk.amend(key)
    assert {(row.number, row.target) for row in due(desk)} == {(2, "fhir"), (3, "pacs")}
    assert settle(desk, older, "waiting", "away") == "superseded"
    assert {(row.number, row.target) for row in due(desk)} == {(3, "pacs"), (3, "fhir")}


def test_one_whose_worker_died_gives_way_to_a_newer_one(desk: Desk) -> None:
    key = desk.draft()
    desk.sign(key)
    older = the(due(desk), "fhir")
    begin(desk, older)
    desk.amend(key)
    assert begin(desk, older) is None  # carried on elsewhere
    assert desk.states(key)[2, "fhir"] == "superseded"
    assert [one.tries for one in desk.of(key) if one.number == 2 and one.target == "fhir"] == [1]


def test_an_older_one_that_came_after_the_newer_one(desk: Desk) -> None:
    """Its worker was taken for dead and was not: the newer one goes once more, so that it is the last."""
    key = desk.draft()
    desk.sign(key)
    older = the(due(desk), "fhir")
    begin(desk, older)
    with desk.database.write() as connection:  # what should never be
        connection.execute(update(table).where(table.c.number == 2).values(state="superseded"))
    desk.amend(key)
    tried(desk, the(due(desk), "fhir"), "sent")
    with desk.database.write() as connection:
        gone = (table.c.number == 2, table.c.target == "fhir")
        connection.execute(update(table).where(*gone).values(state="sending", at=older.at))
    assert settle(desk, older, "sent") == "sent"
    assert desk.states(key)[3, "fhir"] == "waiting"


def test_patients_that_were_corrected(desk: Desk) -> None:
    key = desk.draft()
    desk.sign(key, OTHER)
    for row in due(desk):
        tried(desk, row, "sent")
    assert astray(desk, key) == []
    desk.correct(key, PATIENT)
    (one,) = astray(desk, key)
    assert one.startswith("to be withdrawn by hand in PACS PACS at pacs:104: study 2.25.")
    assert one.endswith(" of patient ID 0000999")
    desk.correct(key, OTHER)  # it was right after all
    assert astray(desk, key) == []


def test_of_what_was_refused_half_a_part_may_have_arrived(desk: Desk) -> None:
    key = desk.draft()
    desk.sign(key, OTHER)
    tried(desk, the(due(desk), "pacs"), "refused", "the third picture")
    desk.correct(key, PATIENT)
    assert len(astray(desk, key)) == 1


def test_what_never_left_is_not_to_be_withdrawn(desk: Desk) -> None:
    key = desk.draft()
    desk.sign(key, OTHER)
    desk.correct(key, PATIENT)
    assert astray(desk, key) == []


def astray(desk: Desk, key: Key) -> list[str]:
    with desk.database.read() as connection:
        found = [str(one) for one in deliveries.astray(connection, desk.config, key)]
        assert [str(one) for one in deliveries.all_astray(connection, desk.config)] == found
    return found


# -------------------------------------------------------------------------------------------- the command


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "server.toml").write_text('data_dir = "."\n[export.pacs]\nhost = "pacs"\ncalled = "PACS"\n')
    database = open_database("", tmp_path)
    migrate(database)
    yield Desk(tmp_path, database, "", pacs=PACS)
    database.close()


def command(desk: Desk, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = cli.main(["--config", f"{desk.config.data_dir}/server.toml", "deliveries", *words])
    return code, "".join(capsys.readouterr())


def test_the_command_shows_and_tries_again(here: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(here, capsys) == (0, "all arrived\n")
    key = here.draft()
    here.sign(key)
    name = f"{key.device}/{key.procedure}/1 version 2 to pacs"
    assert command(here, capsys) == (0, f"waiting  {name}\n")
    tried(here, due(here)[0], "refused", "PACS PACS at pacs:104 refused us")
    hint = "refused ones are tried again by `endoedge-server deliveries --retry`\n"
    assert command(here, capsys) == (1, f"refused  {name}: PACS PACS at pacs:104 refused us\n{hint}")
    assert command(here, capsys, "--retry") == (0, f"{name}: tried again\n")
    assert command(here, capsys, "--retry") == (0, "nothing was refused\n")
    assert [row.number for row in due(here)] == [2]
    with here.database.read() as connection:
        assert [row.what for row in audit.lines(connection)] == ["report.retry"]


def test_the_command_says_what_to_withdraw(here: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    key = here.draft()
    here.sign(key, OTHER)
    tried(here, due(here)[0], "sent")
    here.correct(key, PATIENT)
    tried(here, due(here)[0], "sent")
    code, said = command(here, capsys)
    assert code == 1
    assert "to be withdrawn by hand in PACS PACS at pacs:104: study 2.25." in said
    assert command(here, capsys, "--withdrawn", "nonsense")[0] == 2
    code, said = command(here, capsys, "--withdrawn", "/".join(map(str, key)))
    assert (code, "withdrawn by hand in PACS PACS at pacs:104" in said) == (0, True)
    assert command(here, capsys) == (0, "all arrived\n")
    assert command(here, capsys, "--withdrawn", "/".join(map(str, key)))[0] == 1


def test_a_patient_who_was_only_spelt_wrong_is_in_the_pacs_all_the_same(here: Desk) -> None:
    key = here.draft()
    here.sign(key, msgspec.structs.replace(PATIENT, family="Exmaple"))
    tried(here, due(here)[0], "sent")
    here.correct(key, PATIENT)
    assert len(astray(here, key)) == 1
