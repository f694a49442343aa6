"""A report's files, for whoever may read it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from server import app, audit
from server.export.send import Web
from server.printing import Printers
from server.reports import Key
from server.store.database import open_database
from server.store.migrate import migrate
from tests.support import people
from tests.support.fhir import problems
from tests.support.signing import OTHER, Desk
from tools import export_example
from tools.export_example import PATIENT

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    database = open_database("", tmp_path)
    migrate(database)
    with Desk(tmp_path, database, "", fhir=Web(url="http://127.0.0.1:9/fhir")) as opened:
        yield opened
    database.close()


@pytest.fixture(scope="module")
def printers() -> Iterator[Printers]:
    shared = Printers()
    yield shared
    shared.close()


@pytest.fixture
def made(desk: Desk, printers: Printers) -> Iterator[FastAPI]:
    application = app.create(desk.config, desk.database, desk.keep)
    application.state.printers = printers
    yield application
    application.state.live.close()


@pytest.fixture
def viewer(made: FastAPI) -> TestClient:
    return people.person(made, "vera", "viewer")


def place(key: Key, part: str) -> str:
    return f"/procedures/{key.device}/{key.procedure}/{key.revision}/{part}"


def test_a_report_and_its_draft(desk: Desk, viewer: TestClient) -> None:
    key = desk.draft()
    draft = viewer.get(place(key, "report.pdf"))
    assert draft.status_code == 200
    assert draft.headers["content-type"] == "application/pdf"
    assert draft.headers["content-disposition"] == f'inline; filename="{key.procedure}-1-draft.pdf"'
    assert draft.headers["cache-control"] == "private, no-cache"
    desk.sign(key)
    signed = viewer.get(place(key, "report.pdf"))
    assert signed.headers["content-disposition"].endswith('-report.pdf"')
    assert signed.headers["etag"] != draft.headers["etag"]
    assert viewer.get(place(key, "report.pdf?number=1")).content == draft.content
    again = viewer.get(place(key, "report.pdf"), headers={"If-None-Match": signed.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_bundle_is_what_is_sent(desk: Desk, viewer: TestClient) -> None:
    key = desk.draft()
    desk.sign(key)
    answer = viewer.get(place(key, "report.fhir.json"))
    assert answer.headers["content-type"] == "application/fhir+json"
    bundle = answer.json()
    assert problems(bundle) == []
    (report,) = (one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "DiagnosticReport")
    assert report["status"] == "final"
    assert report["subject"]["identifier"]["value"] == PATIENT.id


def test_the_record_to_the_byte(desk: Desk, viewer: TestClient) -> None:
    key = desk.draft()
    answer = viewer.get(place(key, "record.json"))
    assert json.loads(answer.content)["procedure"] == key.procedure
    assert answer.headers["etag"].strip('"') == hashlib.sha256(answer.content).hexdigest()


def test_who_is_not_logged_in_gets_nothing(desk: Desk, made: FastAPI) -> None:
    key = desk.draft()
    stranger = people.browser(made)
    for part in ("report.pdf", "report.fhir.json", "record.json", "deliveries"):
        answer = stranger.get(place(key, part))
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login")


def test_every_reading_is_audited(desk: Desk, viewer: TestClient) -> None:
    key = desk.draft()
    for part in ("report.pdf", "report.pdf", "report.fhir.json", "record.json", "deliveries"):
        assert viewer.get(place(key, part)).status_code == 200
    with desk.database.read() as connection:
        told = [row.what for row in audit.lines(connection) if row.who == "vera" and row.procedure == key.procedure]
    assert told == ["report.pdf", "report.fhir", "record.read", "deliveries.read"]


def test_what_is_not_there(desk: Desk, viewer: TestClient) -> None:
    key = desk.draft()
    for missing in (key._replace(procedure="nothing"), key._replace(revision=2)):
        for part in ("report.pdf", "report.fhir.json", "record.json"):
            assert viewer.get(place(missing, part)).status_code == 404
    answer = viewer.get(place(key, "report.pdf?number=9"))
    assert (answer.status_code, "no version 9" in answer.text) == (404, True)
    undrafted = desk.take("undrafted")
    answer = viewer.get(place(key._replace(procedure=undrafted.procedure), "report.pdf"))
    assert (answer.status_code, "not written yet" in answer.text) == (404, True)
    lost = next(export_example.example()[0].key_frames()).sha256
    desk.keep.discard(lost)
    answer = viewer.get(place(key, "report.pdf"))
    assert (answer.status_code, f"key frame {lost} is missing" in answer.text) == (409, True)


def test_where_it_went(desk: Desk, viewer: TestClient) -> None:
    key = desk.draft()
    part = {"HX-Request": "true"}
    answer = viewer.get(place(key, "deliveries"), headers=part)
    assert (answer.status_code, "A signed report goes to http://127.0.0.1:9/fhir" in answer.text) == (286, True)
    desk.sign(key, OTHER)
    answer = viewer.get(place(key, "deliveries"), headers=part)
    assert (answer.status_code, "<strong>waiting</strong>" in answer.text) == (200, True)
    assert "<html" in viewer.get(place(key, "deliveries")).text
    assert f'hx-get="{place(key, "deliveries")}"' in viewer.get(place(key, "").rstrip("/")).text


def test_a_slow_page_maker_holds_up_nobody(desk: Desk, made: FastAPI, viewer: TestClient, printers: Printers) -> None:
    """More PDFs are asked for than there are threads for pages; a page comes all the same."""
    printer = printers._idle.get()  # the only one: whoever wants a PDF waits
    key = desk.draft("slow")
    with TestClient(made, people.ORIGIN, cookies=dict(viewer.cookies)) as client:
        asking = [threading.Thread(target=client.get, args=(place(key, "report.pdf"),)) for _ in range(60)]
        for thread in asking:
            thread.start()
        try:
            time.sleep(0.5)
            assert client.get(place(key, "record.json")).status_code == 200
            assert all(thread.is_alive() for thread in asking)
        finally:
            printers._idle.put(printer)
            for thread in asking:
                thread.join()
