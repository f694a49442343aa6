"""Deliveries to a real Orthanc (C-STORE, STOW) and to a FHIR server, by real workers, which are killed."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from server import audit, deliveries
from server.export.case import study_of
from server.export.send import Pacs, Web
from server.patient import Patient
from server.reports import Key
from server.store.database import Database, open_database
from server.store.migrate import migrate
from server.store.tables import attempts
from tests.support import hospital, orthanc
from tests.support.broker import Authority, free_port, missing_tools
from tests.support.hospital import Hospital
from tests.support.orthanc import Orthanc
from tests.support.signing import OTHER, Desk
from tests.support.waiting import wait_for
from tools import export_example
from tools.export_example import PATIENT

needs_orthanc = pytest.mark.skipif(bool(orthanc.missing()), reason=orthanc.missing())
WHOLE = {"ES": 4, "DOC": 1, "SR": 1}  # instances of the example by modality


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="module")
def _fhir() -> Iterator[Hospital]:
    with hospital.serving() as running:
        yield running


@pytest.fixture
def fhir(_fhir: Hospital) -> Iterator[Hospital]:
    yield _fhir
    _fhir.answer = None
    _fhir.hold.set()
    _fhir.asked.clear()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, pacs: Orthanc, _fhir: Hospital) -> Iterator[Desk]:
    """With one worker for many tests, and three systems."""
    folder = tmp_path_factory.mktemp("office")
    database = open_database("", folder)
    migrate(database)
    with Desk(folder, database, "", **at(pacs), fhir=_fhir.web) as opened:
        opened.work()
        yield opened
    database.close()


@pytest.fixture
def desk(tmp_path: Path, database: Database, database_url: str, fhir: Hospital) -> Iterator[Desk]:
    """On either database, without a worker yet."""
    with Desk(tmp_path, database, database_url, fhir=fhir.web) as opened:
        yield opened


@pytest.fixture
def here(tmp_path: Path, fhir: Hospital) -> Iterator[Desk]:
    """On SQLite, without a worker yet."""
    database = open_database("", tmp_path)
    migrate(database)
    with Desk(tmp_path, database, "", fhir=fhir.web) as opened:
        yield opened
    database.close()


def at(pacs: Orthanc) -> dict[str, Any]:
    return {
        "pacs": Pacs(host="127.0.0.1", port=pacs.dicom, called=orthanc.TITLE),
        "stow": Web(url=f"{pacs.url}/dicom-web"),
    }


def study(key: Key, patient: Patient | None = PATIENT) -> str:
    return study_of(msgspec.structs.replace(export_example.example()[0], procedure=key.procedure), patient)


def stored(pacs: Orthanc, study: str) -> dict[str, int]:
    """Modality → instances that the PACS has of it."""
    found: dict[str, int] = {}
    for one in pacs.get("/instances"):
        tags = pacs.get(f"/instances/{one}/tags?simplify")
        if tags["StudyInstanceUID"] == study:
            found[tags["Modality"]] = found.get(tags["Modality"], 0) + 1
    return found


def report(fhir: Hospital, key: Key) -> Any:
    """The one DiagnosticReport of that procedure."""
    (found,) = (one for one in fhir.resources("DiagnosticReport") if one["identifier"][0]["value"] == key.procedure)
    return found


# ------------------------------------------------------------------------------------------- one worker


@needs_orthanc
def test_a_signed_report_arrives_everywhere_once(office: Desk, pacs: Orthanc, fhir: Hospital) -> None:
    key = office.draft("once")
    assert office.of(key) == []  # no draft leaves unless a site says so
    office.sign(key)
    sent = office.wait(key, "sent")
    assert office.states(key) == {(2, target): "sent" for target in deliveries.TARGETS}
    assert [one.tries for one in sent.values()] == [1, 1, 1]
    assert stored(pacs, study(key)) == WHOLE  # by both ways, and no doubles
    assert report(fhir, key)["status"] == "final"
    assert len(fhir.asked) == 1
    with office.database.read() as connection:
        told = [(row.who, row.what) for row in audit.lines(connection) if row.procedure == key.procedure]
        assert connection.execute(select(attempts)).all() == []
    assert told == [("server", "report.sent")] * 3
    assert audit.verify(office.database).wrong == 0


@needs_orthanc
def test_drafts_where_a_site_wants_them(office: Desk, pacs: Orthanc, fhir: Hospital) -> None:
    before = office.config
    office.configure(**at(pacs), fhir=fhir.web, drafts=True)
    try:
        key = office.draft("drafts")
    finally:
        office.config = before
    office.wait(key, "sent")
    assert stored(pacs, study(key, None)) == WHOLE
    assert report(fhir, key)["status"] == "preliminary"
    office.sign(key)
    office.wait(key, "sent")
    assert stored(pacs, study(key)) == WHOLE
    assert report(fhir, key)["status"] == "final"


@needs_orthanc
def test_the_wrong_patient(office: Desk, pacs: Orthanc, fhir: Hospital) -> None:
    key = office.draft("wrong")
    office.sign(key, OTHER)
    office.wait(key, "sent")
    assert report(fhir, key)["status"] == "final"
    office.correct(key, PATIENT)
    office.wait(key, "sent")
    assert report(fhir, key)["status"] == "corrected"
    assert stored(pacs, study(key, OTHER)) == stored(pacs, study(key)) == WHOLE
    assert report(fhir, key)["subject"]["identifier"]["value"] == PATIENT.id
    with office.database.write() as connection:
        assert [str(one) for one in deliveries.all_astray(connection, office.config)] == [
            f"to be withdrawn by hand in {where}: study {study(key, OTHER)} of patient ID 0000999"
            for where in (f"PACS ORTHANC at 127.0.0.1:{pacs.dicom}", f"{pacs.url}/dicom-web")
        ]
        assert len(deliveries.withdrawn(connection, office.config, key)) == 2
        assert deliveries.all_astray(connection, office.config) == []


@needs_orthanc
def test_refused_is_a_person_s(office: Desk, fhir: Hospital) -> None:
    fhir.answer = 422, b"no such code"
    key = office.draft("refused")
    office.sign(key)
    found = office.wait(key, "refused", "sent")
    assert [one.state for one in found.values()] == ["refused", "sent", "sent"]
    assert "answered 422: no such code" in found["fhir"].said
    fhir.answer = None
    with office.database.write() as connection:
        again = {Key(one.device, one.procedure, one.revision) for one in deliveries.retry(connection)}
    assert key in again
    for one in again:  # what other tests had refused, too, and nothing of it runs on into the next test
        office.wait(one, "sent", "refused")
    assert office.wait(key, "sent")["fhir"].tries == 2
    assert len(fhir.asked) >= 2


@needs_orthanc
def test_a_newer_version_waits_for_an_older_one_in_hand(office: Desk, fhir: Hospital) -> None:
    fhir.hold.clear()
    key = office.draft("held")
    office.sign(key)
    wait_for(lambda: fhir.asked and office.states(key)[2, "fhir"] == "sending", "a request in hand")
    office.amend(key)
    wait_for(lambda: office.states(key)[3, "pacs"] == "sent", "a way that nobody holds")
    assert office.states(key)[2, "fhir"] == "sending"
    assert office.states(key)[3, "fhir"] == "waiting"
    assert len(fhir.asked) == 1
    fhir.hold.set()
    office.wait(key, "sent")
    assert report(fhir, key)["status"] == "amended"


@needs_orthanc
def test_a_key_frame_that_is_gone(office: Desk, fhir: Hospital) -> None:
    key = office.draft("gone")
    lost = next(export_example.example()[0].key_frames()).sha256
    jpeg = office.keep.get(lost)
    assert jpeg is not None
    office.keep.discard(lost)
    try:
        office.sign(key)
        assert f"key frame {lost} is missing" in office.wait(key, "refused")["fhir"].said
        assert fhir.asked == []
    finally:
        office.keep.put(lost, jpeg)


# ---------------------------------------------------------------------------------------- workers that end


def test_away_then_back(desk: Desk) -> None:
    """A worker that is told to end has nothing in hand that waits."""
    port = free_port()
    away = Web(url=f"http://127.0.0.1:{port}/base", timeout_s=5)
    desk.configure(fhir=away, stow=away)
    keys = [desk.draft(name) for name in "12"]
    for key in keys:
        desk.sign(key)
    desk.configure(fhir=away)
    worker = desk.work()
    wait_for(lambda: max(desk.wait(key, *STATES)["fhir"].tries for key in keys) >= 2, "a second try")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    for key in keys:
        found = desk.wait(key, "waiting", "refused")
        assert "Connection refused" in found["fhir"].said or not found["fhir"].tries
        assert found["stow"].said == "server.toml has no [export.stow]"
    with hospital.serving(port) as back:
        desk.work()
        for key in keys:
            wait_for(lambda key=key: desk.states(key)[2, "fhir"] == "sent", "it arrives")  # type: ignore[misc]
        assert len(back.resources("DiagnosticReport")) == 2


STATES = ("waiting", "sending", "refused")


@pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
def test_over_tls_and_killed_while_it_sends(here: Desk, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with hospital.serving(0, authority.issue("fhir"), authority.ca) as fhir:
        here.configure(fhir=msgspec.structs.replace(fhir.web, ca=str(Authority(tmp_path, "stranger").ca)))
        key = here.draft()
        here.sign(key)
        worker = here.work()
        wait_for(lambda: here.of(key)[0].said, "a try")
        assert "certificate verify failed" in here.of(key)[0].said
        assert fhir.asked == []
        worker.kill()
        fhir.hold.clear()
        here.configure(fhir=fhir.web)
        worker = here.work()
        wait_for(lambda: fhir.asked, "a request")
        worker.kill()
        worker.wait()
        assert here.states(key) == {(2, "fhir"): "sending"}
        fhir.hold.set()
        here.work()
        here.wait(key, "sent")
        assert len(fhir.resources("DiagnosticReport")) == 1


@needs_orthanc
def test_killed_at_random(desk: Desk, fhir: Hospital, pacs: Orthanc) -> None:
    """Whatever it was doing, every report arrives, once, and its newest version last."""
    chance = random.Random(7)
    desk.configure(pacs=at(pacs)["pacs"], fhir=fhir.web)
    keys = [desk.draft(f"random-{desk.database.is_sqlite}-{number}") for number in range(3)]
    for turn, key in enumerate((*keys, keys[0])):
        worker = desk.work()
        if turn < len(keys):
            desk.sign(key)
        else:
            desk.amend(key)
        time.sleep(chance.uniform(1.0, 3.0))
        worker.kill()
        worker.wait()
    desk.work()
    for key in keys:
        desk.wait(key, "sent")
    assert [report(fhir, key)["status"] for key in keys] == ["amended", "final", "final"]
    for key in keys:
        found = stored(pacs, study(key))
        versions = sum(one.target == "pacs" and one.tries > 0 for one in desk.of(key))
        assert found["ES"] == 4
        assert 1 <= found["SR"] <= found["DOC"] <= versions
    assert audit.verify(desk.database).wrong == 0


def test_a_backup_from_before_is_restored(here: Desk, fhir: Hospital, tmp_path: Path) -> None:
    """As docs/server.md says: without what workers had in hand. What was sent since is sent again."""
    key = here.draft()
    here.sign(key)
    file, kept = tmp_path / "server.db", tmp_path / "kept.db"
    with contextlib.closing(sqlite3.connect(file)) as running, contextlib.closing(sqlite3.connect(kept)) as copy:
        running.backup(copy)
    worker = here.work()
    here.wait(key, "sent")
    worker.terminate()
    worker.wait(40)
    here.database.close()
    for old in (file, *tmp_path.glob("server.db-*"), *tmp_path.glob("jobs.db*")):
        old.unlink()
    kept.rename(file)
    assert here.states(key) == {(2, "fhir"): "waiting"}
    here.work()
    here.wait(key, "sent")
    assert len(fhir.asked) == 2
    assert report(fhir, key)["status"] == "final"
