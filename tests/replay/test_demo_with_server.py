"""From the picture to a signed report in a PACS, as a user runs it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import orthanc
from tests.support.broker import missing_tools
from tests.support.command import ROOT
from tests.support.waiting import wait_for

pytestmark = [
    # looked for, not imported: weasyprint tells Pillow to pass half pictures, in the whole process
    pytest.mark.skipif(importlib.util.find_spec("weasyprint") is None, reason="the server extra is not installed"),
    pytest.mark.skipif(bool(missing_tools()), reason=missing_tools()),
]


@contextlib.contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tools.demo_with_server", "--seconds", "12", "--keep", str(folder), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=ROOT, text=True, start_new_session=True, **pipes) as running:  # type: ignore[call-overload]
        try:
            yield running
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)


@pytest.mark.timeout(300)
def test_unattended_to_the_pacs(tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    with demo(tmp_path / "demo", "--unattended", "--pdf", str(pdf)) as running:
        said, _ = running.communicate(timeout=280)
    assert running.returncode == 0, said
    assert "a signed report, where it belongs" in said
    assert pdf.read_bytes().startswith(b"%PDF-1.7")
    if not orthanc.missing():
        assert "Example^Erika: DOC 1, ES 1, SR 1" in said
    assert children(tmp_path) == []


@pytest.mark.timeout(300)
def test_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    """While it waits for a signature."""
    with demo(tmp_path / "demo") as running:
        assert running.stdout is not None
        said = ""
        while "Open it in Chromium" not in said:
            line = running.stdout.readline()
            assert line, said
            said += line
        assert len(children(tmp_path)) >= 2
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to everybody at once
        rest, _ = running.communicate(timeout=120)
    assert "Traceback" not in rest
    assert running.returncode == 1
    wait_for(lambda: not children(tmp_path), "the last of its children")


def children(folder: Path) -> list[int]:
    """Processes that were started with something in that folder."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told = one.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder / "demo").encode() + b"/" in told:
            found.append(int(one.parent.name))
    return found
