"""The console as a process, on a real tty: a person (pexpect), a receiver (lrzsz), a cable, a machine."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.console import cbor, smp
from edge.console.daemon import STALL_S
from tests.support.console import ROOT, Wire, console, make_keys, signed
from tests.support.waiting import wait_for


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Wire]:
    with console(tmp_path) as (wire, _):
        yield wire


def log_in(wire: Wire, folder: Path) -> None:
    key = make_keys(folder)
    nonce = re.search(r"nonce +(\w+)", wire.ask("login"))
    assert nonce
    now = int(time.time())
    assert "welcome" in wire.ask(f"login {signed(key, nonce[1], issued=now, not_after=now + 600)}")


def test_a_person_at_the_prompt(line: Wire, tmp_path: Path) -> None:
    fdpexpect = pytest.importorskip("pexpect.fdpexpect")
    person: Any = fdpexpect.fdspawn(line.fd, timeout=60, encoding="ascii")
    line.prompt()
    person.send("help\r")
    person.expect("the whole box on one page")
    person.expect("endoedge> ")
    person.send("sattus\b\b\b\b\btatus\r")
    person.expect("device +theatre-3\r\n")
    person.expect("endoedge> ")
    person.send("watch\r")
    person.expect("core: no status")
    person.expect("core: no status")
    person.send("q")
    person.expect("endoedge> ")
    person.send("reboot now\r")
    person.expect("refused: log in first")


def test_a_broken_configuration_is_told_over_the_wire(tmp_path: Path) -> None:
    """The core does not start with it; the console does."""
    with console(tmp_path, 'colour = "red"') as (wire, _):
        wire.prompt()
        assert "unknown key console.colour" in wire.ask("faults").replace("\r\n" + " " * 14, " ")


def test_the_line_goes_and_comes_back_and_the_login_is_gone(line: Wire, tmp_path: Path) -> None:
    line.prompt()
    log_in(line, tmp_path)
    for _ in range(3):
        line.unplug()
        wait_for(lambda: "gone" in (tmp_path / "console.log").read_text(), "the loss is noticed")
        line.plug()
        line.prompt()
        assert "refused: log in first" in line.ask("log")


def test_it_waits_for_a_line_that_is_not_there_yet(tmp_path: Path) -> None:
    with console(tmp_path) as (wire, process):
        wire.prompt()
        wire.unplug()
        wait_for(lambda: "cannot be opened" in (tmp_path / "console.log").read_text(), "it is looked for")
        assert process.poll() is None
        assert (tmp_path / "console.log").read_text().count("cannot be opened") == 1  # not a line a second
        wire.plug()
        wire.prompt()


def test_a_reader_that_does_not_read_is_no_harm(line: Wire, tmp_path: Path) -> None:
    """The terminal takes nothing while 4 MB of questions come: bounded memory, and it is there again afterwards."""
    line.prompt()
    refused = 0
    for _ in range(1000):
        try:
            os.write(line.fd, b"help\r" * 800)
        except BlockingIOError:
            refused += 1
    assert refused < 1000
    assert STALL_S > 5
    line.drain()  # as long as it is behind, more that comes is dropped: Enter, too
    line.prompt()
    assert "wall clock" in line.ask("time")


def test_a_machine_on_the_same_line(line: Wire) -> None:
    line.prompt()
    body = cbor.dumps({"d": "hello"})
    line.write(smp.lines(bytes([2, 0, 0, len(body), 0, 0, 1, 0]) + body))
    answer = line.until(b"\n")
    packet = smp.Assembler().take(answer.rstrip(b"\n"))
    assert packet is not None
    assert cbor.loads(packet[8:]) == {"r": "hello"}


def test_support_is_received_by_lrzsz(line: Wire, tmp_path: Path) -> None:
    rb = shutil.which("rb") or pytest.skip("no `rb`: install lrzsz")
    line.prompt()
    log_in(line, tmp_path)
    line.write(b"support\r")
    said = line.until(b"ends this\r\n").decode()
    (tmp_path / "received").mkdir()
    os.set_blocking(line.fd, True)
    done = subprocess.run(
        [rb, "--overwrite"], cwd=tmp_path / "received", stdin=line.fd, stdout=line.fd, timeout=60, check=False
    )
    os.set_blocking(line.fd, False)
    assert done.returncode == 0
    (file,) = (tmp_path / "received").iterdir()
    content = file.read_bytes()
    assert hashlib.sha256(content).hexdigest() in said
    assert re.search(rf"bytes +{len(content)}\b", said)
    line.prompt()


def test_a_second_console_keeps_off_the_line(line: Wire, tmp_path: Path) -> None:
    line.prompt()
    second = [sys.executable, "-m", "edge.cli", "console", "-c", str(tmp_path / "endoedge.toml")]
    with (
        (tmp_path / "second.log").open("wb") as log,
        subprocess.Popen(second, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process,
    ):
        wait_for(lambda: "Could not exclusively lock" in (tmp_path / "second.log").read_text(), "it is refused")
        process.terminate()
    assert "wall clock" in line.ask("time")


def test_it_stops_when_told(tmp_path: Path) -> None:
    with console(tmp_path) as (wire, process):
        wire.prompt()
        process.terminate()
        assert process.wait(60) == 0
