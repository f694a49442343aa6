"""From the database to samples: only signed ones, and whatever the server knows of people stays here."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from server import edits, patients, reports
from server.cli import main
from server.keep import Folder
from server.report import Signature
from server.reports import Key
from server.store.database import Database
from tests.support import desk_of_reports as desk
from tools.export_example import PATIENT


@pytest.fixture
def config(database: Database, database_url: str, tmp_path: Path) -> Path:
    file = tmp_path / "server.toml"
    file.write_text(f'data_dir = "{tmp_path}"\ndatabase = "{database_url}"\ninstitution = "Example Hospital"\n')
    desk.people(database)
    desk.box(database, desk.example()[0].heading.device)
    return file


def sign(database: Database, key: Key, said: str) -> None:
    with database.write() as connection:
        found, record = reports.newest(connection, key), reports.record(connection, key)
        assert found is not None
        assert record is not None
        report = edits.strike(found.report, "S6", "a fold", "Dr. Ada Example")
        report = edits.add(report, "summary", said, (), "Dr. Ada Example", record)
        signature = Signature(account="ada", name="Dr. Ada Example", at="2026-03-02T10:00:00Z")
        patients.join(connection, key.device, key.procedure, PATIENT, "ada")
        reports.append(connection, edits.sign(report, signature, 1), after=1, what="signed", author="ada")


def test_only_signed_reports_leave_and_no_name_with_them(
    database: Database, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = Folder(tmp_path / "frames")
    sign(database, desk.procedure(database, keep), f"{PATIENT.family}, seen with Dr. Ben Example in Example Hospital.")
    desk.procedure(database, keep, desk.another(2))
    out = tmp_path / "learnt"
    assert main(["--config", str(config), "learn", "export", str(out), "--held", "0"]) == 0
    assert "1 cases: 1 samples, 1 pairs" in capsys.readouterr().out
    texts = [file.read_text() for file in out.rglob("*.json*")]
    pair = json.loads((out / "dpo.jsonl").read_text())
    assert "1 min 46 s" in json.dumps(pair["rejected"])
    assert "1 min 46 s" not in json.dumps(pair["chosen"])
    for secret in (PATIENT.family, PATIENT.id, "Example Hospital", "Ben", "Ada", desk.example()[0].procedure):
        assert not any(secret in text for text in texts), secret


def test_bad_input_is_refused_and_leaves_no_folder(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "learnt"
    assert main(["--config", str(config), "learn", "export", str(out), "--held", "2"]) == 2
    assert not out.exists()
    out.mkdir()
    (out / "mine").write_text("")
    assert main(["--config", str(config), "learn", "export", str(out)]) == 1
    assert (out / "mine").exists()


def test_a_later_revision_that_nobody_signed_takes_the_older_ones_place(
    database: Database, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = Folder(tmp_path / "frames")
    sign(database, desk.procedure(database, keep), "Two polyps.")
    desk.procedure(database, keep, replace(desk.example()[0], revision=2))
    assert main(["--config", str(config), "learn", "export", str(tmp_path / "learnt")]) == 0
    assert msgspec.json.decode((tmp_path / "learnt" / "manifest.json").read_bytes())["cases"] == 0
