"""Deliveries to a real Orthanc (C-STORE, STOW) and to a FHIR server, by real workers, which are killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server import audit, deliveries
from server.export.send import Pacs, Web
from server.store.database import Database
from tests.support import hospital, orthanc
from tests.support.broker import Authority, free_port, missing_tools
from tests.support.hospital import Hospital
from tests.support.orthanc import Orthanc
from tests.support.signing import OTHER, Desk
from tests.support.waiting import wait_for
from tools.export_example import PATIENT

needs_orthanc = pytest.mark.skipif(bool(orthanc.missing()), reason=orthanc.missing())


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def fhir() -> Iterator[Hospital]:
    with hospital.serving() as running:
        yield running


@pytest.fixture
def desk(tmp_path: Path, database: Database, database_url: str) -> Iterator[Desk]:
    with Desk(tmp_path, database, database_url) as opened:
        yield opened


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Desk]:
    """On SQLite alone."""
    from server.store.database import open_database
    from server.store.migrate import migrate

    database = open_database("", tmp_path)
    migrate(database)
    with Desk(tmp_path, database, "") as opened:
        yield opened
    database.close()


def at(pacs: Orthanc) -> dict[str, Any]:
    return {
        "pacs": Pacs(host="127.0.0.1", port=pacs.dicom, called=orthanc.TITLE),
        "stow": Web(url=f"{pacs.url}/dicom-web"),
    }


def series(pacs: Orthanc, patient: str, procedure: str) -> dict[str, int]:
    """Modality → instances, of that patient's study of that procedure."""
    found: dict[str, int] = {}
    for one in pacs.get("/instances"):
        tags = pacs.get(f"/instances/{one}/tags?simplify")
        if tags["PatientID"] == patient and procedure in tags.get("StudyInstanceUID", ""):
            found[tags["Modality"]] = found.get(tags["Modality"], 0) + 1
    return found


@needs_orthanc
def test_a_signed_report_arrives_everywhere_once(desk: Desk, pacs: Orthanc, fhir: Hospital) -> None:
    before = len(pacs.get("/instances"))
    desk.configure(**at(pacs), fhir=fhir.web)
    desk.work()
    key = desk.draft()
    assert desk.of(key) == []  # no draft leaves unless a site says so
    desk.sign(key)
    sent = desk.wait(key, "sent")
    assert desk.states(key) == {(2, target): "sent" for target in deliveries.TARGETS}
    assert len(pacs.get("/instances")) == before + 5  # three key frames, document, structured report; no doubles
    assert [one["status"] for one in fhir.resources("DiagnosticReport")] == ["final"]
    assert len(fhir.asked) == 1
    assert sent.tries == 1
    with desk.database.read() as connection:
        told = [(row.who, row.what, row.procedure) for row in audit.lines(connection)]
    assert told == [("server", "report.sent", key.procedure)] * 3
    assert audit.verify(desk.database).wrong == 0
