"""Boxes that are played, against the real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from server import enrolment, reports, simulate
from server.export import jpeg
from tests.support.report_service import ReportService
from tests.support.waiting import wait_for


def test_a_procedure_is_the_same_for_ever_and_another_one_is_another() -> None:
    first = simulate.procedure("box-1", 3)
    assert simulate.procedure("box-1", 3) == first
    others = [simulate.procedure("box-2", 3), simulate.procedure("box-1", 4), simulate.procedure("box-1", 3, seed=2)]
    assert len({first.record.procedure, *(one.record.procedure for one in others)}) == 4
    pictures = [sha256 for one in (first, *others) for sha256 in one.frames]
    assert len(set(pictures)) == len(pictures)


def test_its_pictures_are_what_the_record_says() -> None:
    for number in range(1, 20):
        played = simulate.procedure("box-1", number)
        assert {one.sha256 for one in played.record.key_frames()} == set(played.frames)
        for one in played.record.key_frames():
            told = jpeg.read(played.frames[one.sha256])
            assert (told.width, told.height, told.baseline) == (one.width, one.height, True)
            assert one.size == len(played.frames[one.sha256])
    assert len(simulate.procedure("box-1", 1, findings=40).record.findings) == 40


def test_a_box_that_is_played_hands_over_and_gets_its_draft(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ReportService(tmp_path) as server:
        kept = ["--device", "phantom-7", "--token-file", str(tmp_path / "token")]
        assert simulate.main([server.url, *kept]) == 2
        assert simulate.main([server.url, "ABCD-EFGH", *kept]) == 1
        assert "answers 403" in capsys.readouterr().err
        code = enrolment.make_code(server.database, "phantom-7", "test")
        assert simulate.main([server.url, code, *kept, "--procedures", "2"]) == 0
        assert simulate.main([server.url, *kept, "--procedures", "3"]) == 0  # two of them for the second time
        assert "phantom-7: 3 procedures with" in capsys.readouterr().out
        keys = [reports.key_of(simulate.procedure("phantom-7", number).record) for number in (1, 2, 3)]

        def drafted() -> bool:
            with server.database.read() as connection:
                return all(reports.newest(connection, key) is not None for key in keys)

        wait_for(drafted, "drafts of all")
        assert (tmp_path / "token").stat().st_mode & 0o077 == 0


def test_an_address_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["reports.example", "ABCD"]) == 1
    assert "expected a report server's address" in capsys.readouterr().err
    assert simulate.main(["http://127.0.0.1:9", "ABCD"]) == 1
    assert "Connection refused" in capsys.readouterr().err
