"""`python -m server.learn`: cases that lie in folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.learn.__main__ import main
from server.learn.export import check
from tools import export_example


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    export_example.main([str(folder)])
    return folder


def test_a_case_becomes_a_folder(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(example), "--out", str(tmp_path / "out"), "--held", "0"]) == 0
    manifest = check(tmp_path / "out")
    assert (manifest.samples, manifest.pairs) == (1, 1)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1 cases: 1 samples, 1 pairs, 4 pictures"
    assert "3 sentences left out: not what the check lets stand" in said
    assert any("treatment" in line for line in said)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (("draft.json", None), "draft.json: No such file"),
        (("draft.json", b"{}"), "draft.json: expected a report: Object missing required field"),
        (("patient.json", b"[]"), "patient.json: expected a patient"),
    ],
)
def test_a_file_that_is_wrong_is_named(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: tuple[str, bytes | None], said: str
) -> None:
    case = tmp_path / "case"
    export_example.main([str(case)])
    name, content = spoil
    (case / name).unlink() if content is None else (case / name).write_bytes(content)
    assert main([str(case), "--out", str(tmp_path / "out")]) == 1
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_a_wrong_share_is_said(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(example), "--out", str(tmp_path / "out"), "--held", "2"]) == 2
    assert "Expected `float` < 1.0 - at `$.held`" in capsys.readouterr().err
