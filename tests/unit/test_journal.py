"""Log records as journal entries."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import systemd
from edge.systemd import JournalHandler


def fields(entry: bytes) -> dict[str, str]:
    found = {}
    while entry:
        name, _, rest = entry.partition(b"\n")
        length = int.from_bytes(rest[:8], "little")
        found[name.decode()] = rest[8 : 8 + length].decode()
        assert rest[8 + length : 9 + length] == b"\n"
        entry = rest[9 + length :]
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[tuple[socket.socket, logging.Logger]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        handler = JournalHandler(str(tmp_path / "journal"))
        logger = logging.Logger("edge.somewhere")
        logger.addHandler(handler)
        yield listener, logger
        handler.close()


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")]
)
def test_a_record_has_its_fields(journal: tuple[socket.socket, logging.Logger], level: str, priority: str) -> None:
    listener, logger = journal
    getattr(logger, level)("two\nlines, %s", "ä")
    found = fields(listener.recv(65536))
    assert found["MESSAGE"] == "two\nlines, ä"
    assert found["PRIORITY"] == priority
    assert (found["LOGGER"], found["CODE_FILE"], found["CODE_FUNC"]) == (
        "edge.somewhere",
        __file__,
        "test_a_record_has_its_fields",
    )


def test_an_exception_is_a_field_of_its_own(journal: tuple[socket.socket, logging.Logger]) -> None:
    listener, logger = journal
    try:
        raise ValueError("x" * 200_000)
    except ValueError:
        logger.exception("it broke")
    found = fields(listener.recv(200_000))
    assert found["MESSAGE"] == "it broke"
    assert found["EXCEPTION"].startswith("Traceback")


def test_a_journal_that_is_gone_loses_nothing(
    journal: tuple[socket.socket, logging.Logger], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "journal").unlink()
    journal[1].warning("still said")
    assert "still said" in capsys.readouterr().err


def test_only_a_stderr_that_is_the_journals_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "stderr").open("w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        stat = os.fstat(stderr.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{stat.st_dev}:{stat.st_ino}")
        handler = systemd.journal()
        assert handler is not None
        handler.close()
        monkeypatch.setenv("JOURNAL_STREAM", "1:1")
        assert systemd.journal() is None
