"""What the law wants gone is gone, from tables and from files; and what is kept for a time, after it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import func, select

from edge.procedure import Record
from server import audit, cli, clock, deliveries, erasure, pictures, receive, reports, retention
from server.config import Retention
from server.errors import RefusedError, ServerError
from server.export.send import Pacs
from server.jobs import Means
from server.keep import Folder
from server.reports import Key
from server.store import tables
from server.store.database import Database, open_database
from server.store.migrate import FOLDER, migrate
from tests.support.signing import Desk
from tools import export_example
from tools.export_example import PATIENT

PACS = Pacs(host="pacs", called="PACS")
RECORD, FRAMES = export_example.example()
DEVICE = RECORD.heading.device
NEVER = ("audit", "erased", "accounts", "sessions", "boxes", "codes", "alembic_version")


class _Desk(Desk):
    """Takes records the way boxes send them."""

    def take(self, name: str = "1") -> Record:
        record = msgspec.structs.replace(RECORD, procedure=f"procedure-{name}")
        for sha256, jpeg in FRAMES.items():
            receive.take_frame(self.database, self.keep, DEVICE, sha256, jpeg)
        assert receive.take_record(self.database, record, msgspec.json.encode(record)) == ([], True)
        return record

    def ask(self, key: Key) -> None:
        row = {**key._asdict(), "id": key.procedure, "account": "ada", "at": clock.now()}
        with self.database.write() as connection:
            connection.execute(tables.questions.insert(), {**row, "question": "How long?", "answer": b"{}"})

    def erase(self, key: Key, **more: Any) -> erasure.Erased:
        known: dict[str, Any] = {"by": "cli:root", "reason": "request", **more}
        done = erasure.erase(self.database, self.config, key.device, key.procedure, **known)
        pictures.clear(self.database, self.keep)
        return done

    def retain(self, **days: int) -> list[str]:
        config = msgspec.structs.replace(self.config, retention=Retention(**days))
        return [one.procedure for one in erasure.retain(self.database, config, self.keep, 100)]

    def age(self, days: float) -> None:
        at = clock.later(-days * 86_400)
        with self.database.write() as connection:
            connection.execute(tables.listed.update().values(received_at=at, touched_at=at))

    def settle(self, state: str) -> None:
        with self.database.write() as connection:
            connection.execute(tables.deliveries.update().values(state=state, tries=1))

    def files(self) -> set[str]:
        return {file.stem for file in (self._folder / "frames").rglob("*.jpg")}


@pytest.fixture
def desk(tmp_path: Path, database: Database, database_url: str) -> _Desk:
    return _Desk(tmp_path, database, database_url, pacs=PACS)


def _left(database: Database, word: str) -> list[str]:
    """Tables that say it."""
    found = []
    with database.read() as connection:
        for table in tables.metadata.sorted_tables:
            if any(word in str(value) for row in connection.execute(select(table)) for value in row):
                found.append(table.name)
    return found


def test_a_procedure_goes_with_all_that_was_known_of_it(desk: _Desk, tmp_path: Path) -> None:
    key = desk.draft()
    desk.sign(key)
    desk.ask(key)
    assert _left(desk.database, PATIENT.family) == ["joined"]
    assert desk.files() == set(FRAMES)
    done = desk.erase(key, reference="2026/17")
    assert (done.revisions, done.versions, done.pictures, done.elsewhere) == (1, 2, len(FRAMES), ())
    assert _left(desk.database, PATIENT.family) == []
    assert set(_left(desk.database, key.procedure)) == {"audit", "erased"}
    assert _left(desk.database, next(iter(FRAMES))) == []
    assert desk.files() == set()
    with desk.database.read() as connection:
        (stone,) = connection.execute(select(tables.erased)).all()
        last = list(audit.lines(connection))[-1]
    assert (stone.by, stone.reason, stone.reference) == ("cli:root", "request", "2026/17")
    assert (last.what, last.procedure) == ("procedure.erase", key.procedure)
    assert audit.verify(desk.database).wrong == 0
    if desk.database.is_sqlite:
        files = [file.read_bytes() for file in tmp_path.glob("server.db*")]
        assert files
        assert not any(PATIENT.family.encode() in content or b"key_frame" in content for content in files)


def test_another_procedure_keeps_what_it_shows(desk: _Desk) -> None:
    first, second = desk.draft("a"), desk.draft("b")
    desk.sign(second)
    assert desk.erase(first).pictures == 0  # the same pictures
    assert desk.files() == set(FRAMES)
    with desk.database.read() as connection:
        record = reports.record(connection, second)
        assert record is not None
        assert reports.missing_frames(connection, record) == []
        assert len(reports.history(connection, second)) == 2
    assert desk.erase(second).pictures == len(FRAMES)
    assert desk.files() == set()


def test_another_box_keeps_its_pictures(desk: _Desk) -> None:
    sha256, jpeg = next(iter(FRAMES.items()))
    receive.take_frame(desk.database, desk.keep, "other-box", sha256, jpeg)
    desk.erase(desk.draft())
    assert desk.files() == {sha256}


def test_all_revisions_go(desk: _Desk) -> None:
    key = desk.draft()
    record = msgspec.structs.replace(RECORD, procedure=key.procedure, revision=2)
    receive.take_record(desk.database, record, msgspec.json.encode(record))
    assert desk.erase(key).revisions == 2
    with desk.database.read() as connection:
        assert reports.undrafted(connection, 10) == []


def test_a_box_that_sends_it_again_may_forget_it_too(desk: _Desk) -> None:
    """It is told that it was taken, and nothing is."""
    key = desk.draft()
    desk.erase(key)
    record = msgspec.structs.replace(RECORD, procedure=key.procedure)
    for one in (record, msgspec.structs.replace(record, revision=2)):
        assert receive.take_record(desk.database, one, msgspec.json.encode(one)) == ([], False)
    with desk.database.read() as connection:
        assert reports.revisions(connection, *key[:2]) == []


def test_a_job_in_hand_puts_nothing_back(desk: _Desk) -> None:
    key = desk.draft()
    with desk.database.read() as connection:
        found = reports.newest(connection, key)
    assert found is not None
    desk.erase(key)
    with pytest.raises((ServerError, RefusedError)), desk.database.write() as connection:
        reports.append(connection, found.report, after=1, what="worded", author="")
    with desk.database.read() as connection:
        assert reports.history(connection, key) == []


def test_what_is_elsewhere_is_named(desk: _Desk) -> None:
    key = desk.draft()
    desk.sign(key)
    desk.settle("sent")
    assert desk.erase(key).elsewhere == ("PACS PACS at pacs:104",)


def test_what_cannot_be_erased_is_said(desk: _Desk) -> None:
    key = desk.draft()
    for more, why in [
        ({"reason": "because"}, "expected request, order, mistake, retention"),
        ({"reference": "Ada Lovelace"}, "expected a file's number"),
        ({"reference": "x" * 65}, "expected a file's number"),
    ]:
        with pytest.raises(RefusedError, match=why):
            desk.erase(key, **more)
    with pytest.raises(RefusedError, match="no such procedure"):
        desk.erase(Key(DEVICE, "another", 1))
    desk.erase(key)
    with pytest.raises(RefusedError, match="was erased at 2"):
        desk.erase(key)


def test_it_is_all_or_nothing(desk: _Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    key = desk.draft()

    def broken(*_: object) -> int:
        raise ServerError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(pictures, "let_go", broken)
        with pytest.raises(ServerError):
            desk.erase(key)
    with desk.database.read() as connection:
        assert len(reports.history(connection, key)) == 1
        assert erasure.erased_at(connection, *key[:2]) == ""
    assert desk.erase(key).versions == 1


def test_files_that_could_not_go_go_later(desk: _Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the commit and the files."""
    key = desk.draft()
    discard = Folder.discard
    left = [2]

    def killed(self: Folder, sha256: str) -> None:
        if not left[0]:
            raise ServerError("killed")
        left[0] -= 1
        discard(self, sha256)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "discard", killed)
        with pytest.raises(ServerError):
            desk.erase(key)
    assert len(desk.files()) == len(FRAMES) - 2
    assert desk.retain() == []
    assert desk.files() == set()


def test_what_killed_writers_left_goes_after_a_day(desk: _Desk) -> None:
    """Real ones: each is killed in the moment before its picture gets its name."""
    desk.draft()
    whole = desk.files()
    root = desk.config.folder / "frames"
    program = (
        "import os, signal, sys; from pathlib import Path; from server.keep import Folder; "
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL); Folder(Path(sys.argv[1])).put('ab' * 32, b'x')"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, str(root)], check=False)
    old, young = sorted(root.glob("ab/.new-*"))
    os.utime(old, times=(time.time() - 2 * 86_400,) * 2)
    assert desk.retain() == []
    assert list(root.glob("ab/*")) == [young]
    assert desk.files() == whole


def test_a_picture_that_comes_again_meanwhile_stays(desk: _Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file goes just when another box has found it there."""
    key = desk.draft()
    sha256, jpeg = next(iter(FRAMES.items()))
    erasure.erase(desk.database, desk.config, *key[:2], by="cli:root", reason="request")
    put = Folder.put

    def overtaken(self: Folder, sha256: str, content: bytes) -> None:
        put(self, sha256, content)
        monkeypatch.undo()
        pictures.clear(desk.database, self)

    monkeypatch.setattr(Folder, "put", overtaken)
    receive.take_frame(desk.database, desk.keep, "other-box", sha256, jpeg)
    assert desk.files() == {sha256}


def test_pictures_whose_record_never_came_go_after_a_month(desk: _Desk) -> None:
    sha256, jpeg = next(iter(FRAMES.items()))
    receive.take_frame(desk.database, desk.keep, "lost-box", sha256, jpeg)
    assert desk.retain() == []
    assert len(desk.files()) == 1
    with desk.database.write() as connection:
        connection.execute(tables.frames.update().values(received_at=clock.later(-erasure.UNUSED_S - 60)))
    desk.retain()
    assert desk.files() == set()
    with desk.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(tables.frames)).scalar() == 0


def test_records_that_were_there_before_the_table_of_pictures(database_url: str, tmp_path: Path) -> None:
    database = open_database(database_url, tmp_path)
    config = AlembicConfig()
    config.set_main_option("script_location", str(FOLDER))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        row = {"state": "ended", "pipeline": "x", "started_at": "", "digest": "0" * 64, "received_at": clock.now()}
        row |= {"device": DEVICE, "procedure": "before", "revision": 1}
        connection.execute(tables.records.insert(), {**row, "body": msgspec.json.encode(RECORD)})
        connection.execute(tables.records.insert(), {**row, "revision": 2, "body": msgspec.json.encode(RECORD)})
    migrate(database)
    with database.read() as connection:
        found = connection.execute(select(tables.pictures)).all()
    assert {row.sha256 for row in found} == set(FRAMES)
    assert {(row.device, row.procedure) for row in found} == {(DEVICE, "before")}
    database.close()


# ------------------------------------------------------------------------------------------------ retention


def test_what_is_signed_and_delivered_goes_after_its_time(desk: _Desk) -> None:
    key, draft = desk.draft("signed"), desk.draft("draft")
    desk.sign(key)
    desk.settle("sent")
    desk.age(31)
    assert desk.retain() == []  # without a configured time nothing goes
    assert desk.retain(days=32) == []
    assert desk.retain(days=30) == [key.procedure]
    assert desk.retain(days=30) == []
    assert desk.retain(drafts_days=32) == []
    assert desk.retain(drafts_days=30) == [draft.procedure]
    with desk.database.read() as connection:
        stones = connection.execute(select(tables.erased.c.by, tables.erased.c.reason)).all()
    assert [tuple(stone) for stone in stones] == [("server", "retention")] * 2


@pytest.mark.parametrize("state", ["waiting", "sending", "refused"])
def test_what_a_system_still_waits_for_stays(desk: _Desk, state: str) -> None:
    desk.sign(desk.draft())
    desk.settle(state)
    desk.age(31)
    assert desk.retain(days=30) == []


def test_what_was_changed_lately_stays(desk: _Desk) -> None:
    key = desk.draft()
    desk.sign(key)
    desk.age(31)
    desk.amend(key)
    desk.settle("sent")
    assert desk.retain(days=30) == []


def test_what_is_in_the_pacs_under_a_wrong_patient_stays(desk: _Desk) -> None:
    key = desk.draft()
    desk.sign(key)
    desk.settle("sent")
    desk.correct(key, msgspec.structs.replace(PATIENT, id="another"))
    desk.settle("sent")
    desk.age(31)
    assert desk.retain(days=30) == []
    with desk.database.write() as connection:
        assert deliveries.withdrawn(connection, desk.config, key)
    assert desk.retain(days=30) == [key.procedure]


def test_a_signed_revision_is_no_draft_because_a_newer_one_came(desk: _Desk) -> None:
    key = desk.draft()
    desk.sign(key)
    desk.settle("sent")
    record = msgspec.structs.replace(RECORD, procedure=key.procedure, revision=2)
    receive.take_record(desk.database, record, msgspec.json.encode(record))
    desk.age(31)
    assert desk.retain(drafts_days=30) == []


def test_the_worker_does_so_once_an_hour(desk: _Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its step, without DBOS around it; the job's name is the hour's."""
    key = desk.draft()
    desk.age(31)
    config = msgspec.structs.replace(desk.config, retention=Retention(drafts_days=30))
    for name, value in (("config", config), ("database", desk.database), ("keep", desk.keep)):
        monkeypatch.setattr(Means, name, value, raising=False)
    (job,) = retention.due(desk.database)
    assert job.id == f"retain:{clock.now()[:13]}"
    assert retention._retain("now") == "now: 1 erased"
    with desk.database.read() as connection:
        assert erasure.erased_at(connection, *key[:2])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "server.toml"
    file.write_text('data_dir = "data"\n[export.pacs]\nhost = "pacs"\ncalled = "PACS"\n')
    database = open_database("", tmp_path / "data")
    migrate(database)
    desk = _Desk(tmp_path / "data", database, "", pacs=PACS)
    key = desk.draft()
    desk.sign(key)
    desk.settle("sent")
    words = ["--config", str(file), "erase", key.device, key.procedure, "--reason", "order", "--reference", "17"]
    assert cli.main(words) == 0
    told = capsys.readouterr().out
    assert f"with 2 versions of reports, {len(FRAMES)} key frames" in told
    assert "it was sent to PACS PACS at pacs:104: have it erased there, too" in told
    assert desk.files() == set()
    assert cli.main(words) == 1
    assert "was erased at" in capsys.readouterr().err
    database.close()
