"""Whom the hospital has planned: a real Orthanc's worklist, and a folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from edge.errors import ConfigError
from server.config import Worklist, load
from server.export.send import Pacs
from server.patient import Patient
from server.worklist import Entry, WorklistError, find
from tests.support import broker, orthanc

ZONE = "Europe/Berlin"
NEAR = datetime(2026, 3, 10, 9, 30, tzinfo=timezone.utc)  # 10:30 in Berlin
ADA = Patient(
    id="P-1", issuer="HOSP", family="Lovelace", given="Ada", birth_date="1815-12-10", sex="female", accession="A1"
)


def _planned(folder: Path, patient: Patient, time: str, *, date: str = "20260310", **more: str) -> None:
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 192"
    item.PatientName = f"{patient.family}^{patient.given}"
    item.PatientID, item.IssuerOfPatientID = patient.id, patient.issuer
    item.PatientBirthDate = patient.birth_date.replace("-", "")
    item.PatientSex = {"female": "F", "male": "M", "other": "O"}.get(patient.sex, "")
    item.AccessionNumber, item.StudyInstanceUID = patient.accession, patient.study or generate_uid()
    item.RequestedProcedureDescription = more.pop("procedure", "Colonoscopy")
    step = Dataset()
    step.Modality = more.pop("modality", "ES")
    step.ScheduledStationAETitle = more.pop("station", "TOWER3")
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = date, time
    step.ScheduledProcedureStepDescription = "step"
    item.ScheduledProcedureStepSequence = [step]
    item.file_meta = FileMetaDataset()
    item.file_meta.MediaStorageSOPClassUID = "1.2.276.0.7230010.3.1.0.1"
    item.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.save_as(folder / f"{patient.id}.wl", enforce_file_format=True)


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    if reason := orthanc.missing():
        pytest.skip(reason)
    if not orthanc.WORKLISTS.is_file():
        pytest.skip(f"not installed: {orthanc.WORKLISTS}")
    planned = tmp_path_factory.mktemp("worklist")
    people = [
        (ADA, "103000", {}),
        (Patient(id="P-2", family="Nováková", given="Žofie", sex="female"), "1145", {"station": "TOWER4"}),
        (Patient(id="P-3", family="Yamada", given="太郎", sex="male"), "083000.5", {"procedure": "Gastroscopy"}),
        (Patient(id="P-4", family="Lovelace", given="Tomorrow"), "103000", {"date": "20260311"}),
        (Patient(id="P-5", family="Lovelace", given="Radiology"), "103000", {"modality": "CT"}),
    ]
    for patient, time, more in people:
        _planned(planned, patient, time, **more)
    wrong = _without_a_name("P-6")
    _planned(planned, wrong, "103000")
    with orthanc.Orthanc(tmp_path_factory.mktemp("orthanc"), planned) as running:
        yield Pacs(host="127.0.0.1", port=running.dicom, called=orthanc.TITLE)


def _without_a_name(id: str) -> Patient:
    """Without a family name, which a `Patient` cannot be when it is read."""
    return Patient(id=id, family="", given="Nobody")


def _config(**fields: Any) -> Worklist:
    return Worklist(**{"zone": ZONE, **fields})


def test_a_worklist_is_asked_and_the_nearest_comes_first(pacs: Pacs, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        entries = find(_config(dicom=pacs, hours=3), NEAR)
    assert [entry.patient.name for entry in entries] == ["Lovelace, Ada", "Nováková, Žofie", "Yamada, 太郎"]
    first = entries[0]
    assert first.patient == Patient(**{**_fields(ADA), "study": first.patient.study})
    assert first.patient.study
    assert (first.procedure, first.scheduled) == ("Colonoscopy", NEAR)
    assert entries[2].scheduled == NEAR - timedelta(hours=2)
    assert "1 entries are of no patient" in caplog.text
    assert "Nobody" not in caplog.text


def _fields(patient: Patient) -> dict[str, Any]:
    return {name: getattr(patient, name) for name in patient.__struct_fields__}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("love", ["P-1"]),
        ("ADA love", ["P-1"]),
        ("žofie", ["P-2"]),
        ("太郎", ["P-3"]),
        ("gastro", ["P-3"]),
        ("a1", ["P-1"]),
        ("P-2", ["P-2"]),
        ("*", []),
        ("lovelace yamada", []),
    ],
)
def test_words_are_looked_for(pacs: Pacs, text: str, ids: list[str]) -> None:
    assert [entry.patient.id for entry in find(_config(dicom=pacs), NEAR, text)] == ids


def test_a_station_a_day_a_number_of_entries(pacs: Pacs) -> None:
    assert [one.patient.id for one in find(_config(dicom=pacs, station="TOWER4"), NEAR)] == ["P-2"]
    assert [one.patient.id for one in find(_config(dicom=pacs, hours=25), NEAR)][-1] == "P-4"
    assert [one.patient.id for one in find(_config(dicom=pacs, modality="CT"), NEAR)] == ["P-5"]
    assert len(find(_config(dicom=pacs, most=1), NEAR)) == 1
    assert find(_config(dicom=pacs), NEAR + timedelta(days=30)) == []


def test_around_midnight_two_days_are_asked_for(pacs: Pacs) -> None:
    late = datetime(2026, 3, 10, 23, 0, tzinfo=timezone.utc)  # the 11th in Berlin
    assert [one.patient.id for one in find(_config(dicom=pacs, hours=11), late)] == ["P-4"]
    assert len(find(_config(dicom=pacs, hours=16), late)) == 4


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pynetdicom 3.0 drops one that cannot connect
def test_who_is_away_is_named() -> None:
    away = Pacs(host="127.0.0.1", port=broker.free_port(), called="AWAY", timeout_s=2)
    with pytest.raises(WorklistError, match=r"worklist AWAY at 127\.0\.0\.1:\d+ does not answer"):
        find(_config(dicom=away), NEAR)


def test_who_does_not_let_us_ask_is_named(pacs: Pacs) -> None:
    stranger = Pacs(host=pacs.host, port=pacs.port, called=pacs.called, calling="STRANGER", timeout_s=5)
    with pytest.raises(WorklistError, match="asked as STRANGER, hung up"):
        find(_config(dicom=stranger), NEAR)
    other = Pacs(host=pacs.host, port=pacs.port, called="OTHER", timeout_s=5)
    with pytest.raises(WorklistError, match="OTHER"):
        find(_config(dicom=other), NEAR)


# --------------------------------------------------------------------------------------------------- folder


def _write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_folder_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ada = {"id": "P-1", "family": "Lovelace", "given": "Ada"}
    _write(tmp_path, "1.json", {"patient": ada, "scheduled": "2026-03-10T10:30:00+01:00", "procedure": "Colonoscopy"})
    later = {"patient": {"id": "P-2", "family": "B"}, "scheduled": "2026-03-10T12:00:00+01:00"}
    _write(tmp_path, "2.json", [later, {"patient": {"id": "P-3", "family": "C"}}])
    _write(tmp_path, "3.json", {"patient": {**ada, "id": "P-4"}, "scheduled": "2026-03-10T10:30:00"})
    _write(tmp_path, "4.json", "{")
    _write(tmp_path, "5.json", {"patient": {"id": "P-5", "family": "D", "phone": "1"}})
    _write(tmp_path, "6.json", "x" * (1 << 20) + "y")
    _write(tmp_path, "7.txt", "not looked at")
    with caplog.at_level(logging.WARNING):
        entries = find(_config(folder=str(tmp_path)), NEAR)
    assert [entry.patient.id for entry in entries] == ["P-1", "P-2", "P-3"]
    assert entries[0] == Entry(patient=Patient(**ada), scheduled=NEAR, procedure="Colonoscopy")
    assert [name for name in "1234567" if f"{name}.json" in caplog.text] == ["3", "4", "5", "6"]
    assert find(_config(folder=str(tmp_path)), NEAR + timedelta(days=2), "lovelace") == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorklistError, match="nowhere"):
        find(_config(folder=str(tmp_path / "nowhere")), NEAR)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[worklist]\n", "expected either folder or"),
        ('[worklist]\nfolder = "x"\n[worklist.dicom]\nhost = "h"\ncalled = "C"\n', "expected either folder or"),
        ('[worklist]\nfolder = "x"\nzone = "Berlin"\n', "expected one like Europe/Berlin"),
        ('[worklist]\nfolder = "x"\nzone = "../../etc/passwd"\n', "expected one like Europe/Berlin"),
        ('[worklist]\nfolder = "x"\nhours = 0\n', r"worklist\.hours"),
    ],
)
def test_a_configuration_that_is_none(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=why):
        load(file)
    file.write_text('[worklist]\nfolder = "planned"\n')
    found = load(file).worklist
    assert found is not None
    assert found.folder == str(tmp_path / "planned")
