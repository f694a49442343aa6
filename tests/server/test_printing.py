"""PDFs out of processes that may hang, die and be killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import msgspec
import pytest

from server import printing
from server.errors import ServerError
from server.export import pdf
from server.export.case import Case, ExportError
from server.printing import Printers
from tests.support.waiting import wait_for
from tools import export_example


@pytest.fixture(scope="module")
def case() -> Case:
    record, frames = export_example.example()
    return Case(record, export_example.signed(), frames, export_example.PATIENT, "Example Hospital")


def other(case: Case, text: str) -> Case:
    """The same with another sentence."""
    last = msgspec.structs.replace(case.report.sentences[-1], text=text)
    report = msgspec.structs.replace(case.report, sentences=(*case.report.sentences[:-1], last))
    return Case(case.record, report, case.frames, case.patient, case.institution)


@pytest.fixture
def printers() -> Iterator[Printers]:
    made = Printers()
    yield made
    made.close()


def child(printers: Printers) -> int:
    """Its process."""
    printer = printers._idle.queue[0]
    assert printer._child is not None
    return printer._child.pid


def test_the_same_as_here_and_made_once(printers: Printers, case: Case) -> None:
    made = printers.pdf(case)
    assert made == pdf.pdf(case)
    os.kill(child(printers), signal.SIGKILL)
    assert printers.pdf(case) is made


def test_what_cannot_be_printed_is_said_and_the_next_one_is_printed(printers: Printers, case: Case) -> None:
    with pytest.raises(ExportError, match=r"no font on this machine has .* \(U\+10EFF\)"):
        printers.pdf(other(case, "A letter that nobody has: \U00010eff"))
    assert printers.pdf(case).startswith(b"%PDF")


def test_one_that_dies_is_an_error_and_another_takes_its_place(printers: Printers, case: Case) -> None:
    printers.pdf(case)
    first = child(printers)
    os.kill(first, signal.SIGSTOP)
    told: list[Exception] = []

    def ask() -> None:
        try:
            printers.pdf(other(case, "While it stands still."))
        except ServerError as exc:
            told.append(exc)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: printers._idle.empty(), "somebody asks")
    os.kill(first, signal.SIGKILL)
    thread.join()
    assert "the page maker ended with -9" in str(told[0])
    assert printers.pdf(other(case, "After it.")).startswith(b"%PDF")
    assert child(printers) != first


def test_one_that_hangs_is_ended(printers: Printers, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    printers.pdf(case)
    os.kill(child(printers), signal.SIGSTOP)
    monkeypatch.setattr(printing, "WITHIN_S", 0.2)
    with pytest.raises(ServerError, match="it took longer than"):
        printers.pdf(other(case, "It hangs."))
    assert printers._idle.queue[0]._child is None


def test_old_ones_go_when_there_are_too_many(printers: Printers, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    first = printers.pdf(case)
    monkeypatch.setattr(printing, "KEPT_MOST", len(first) + 10)
    printers.pdf(other(case, "Another."))
    assert list(printers._kept) == [other(case, "Another.").digest]
