"""`python -m server.export`, on the files that `tools/export_example.py` writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="the server extra is not installed")
pytest.importorskip("httpx", reason="the server extra is not installed")

from server.export.__main__ import main
from tools import export_example


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("example")
    assert export_example.main([str(made)]) == 0
    return made


def arguments(folder: Path, out: Path, report: str = "report") -> list[str]:
    return [
        *("--record", str(folder / "record.json"), "--report", str(folder / f"{report}.json")),
        *("--frames", str(folder / "frames"), "--out", str(out)),
    ]


def test_a_strangers_try(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server.export", *arguments(folder, tmp_path)]
    done = subprocess.run(
        [*command, "--patient", str(folder / "patient.json")], capture_output=True, text=True, check=True
    )
    names = [f"{number:02d}.dcm" for number in range(1, 6)]
    assert sorted(file.name for file in tmp_path.iterdir()) == [*names, "report.fhir.json", "report.pdf"]
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-1.7")
    assert json.loads((tmp_path / "report.fhir.json").read_bytes())["resourceType"] == "Bundle"
    assert "report.pdf" in done.stdout


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("record.json", "record.json: expected a record: "),
        ("report.json", "report.json: expected a report: "),
        ("frames", "key frame [0-9a-f]{64} is missing"),
        ("absent", "absent.json: No such file or directory"),
    ],
)
def test_one_line_says_what_is_wrong(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: str, why: str
) -> None:
    import re
    import shutil

    shutil.copytree(folder, tmp_path / "in")
    if spoil.endswith(".json"):
        (tmp_path / "in" / spoil).write_text('{"version": "one"}')
    if spoil == "frames":
        shutil.rmtree(tmp_path / "in" / "frames")
    report = "absent" if spoil == "absent" else "report"
    assert main(arguments(tmp_path / "in", tmp_path / "out", report)) == 1
    said = capsys.readouterr().err
    assert re.search(why, said)
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_patient_in_a_draft(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patient = ["--patient", str(folder / "patient.json")]
    assert main([*arguments(folder, tmp_path, "draft"), *patient]) == 1
    assert "a patient in a draft" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [("--pacs", "nowhere"), ("--pacs", "PACS@:104"), ("--stow", "nowhere"), ("--fhir", "http://x/")],
)
def test_an_address_that_is_none(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert main([*arguments(folder, tmp_path / "out"), option, value]) == 2
    assert f"{option} {value}: expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
