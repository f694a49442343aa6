"""The console's loop on a tty of this process: what its other end does to a login."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.console.commands import COMMANDS
from edge.console.daemon import Daemon
from edge.console.port import Port
from edge.console.shell import Shell
from tests.support.console import Wire, desk, make_keys, signed
from tests.support.waiting import wait_for


class Carrier(Port):
    """A pty has no wire for carrier detect: here it is one that the test moves."""

    on: bool | None = None

    def carrier(self) -> bool | None:
        return self.on


@contextlib.contextmanager
def serving(folder: Path, stall_s: float = 30.0) -> Iterator[tuple[Wire, Carrier]]:
    """A loop in a thread, somebody logged in, and the terminal's end."""
    wire, clock = Wire(folder / "tty"), SystemClock()
    at = desk(folder, clock)
    shell, port = Shell(at, COMMANDS), Carrier(str(folder / "tty"), 115_200, clock)
    now = int(clock.wall().at_s)
    key = make_keys(folder)
    at.gate.admit(signed(key, at.gate.challenge().nonce, issued=now, not_after=now + 600))
    assert port.open()
    stop = threading.Event()
    thread = threading.Thread(target=Daemon(port, shell, clock, stall_s).run, args=(stop,))
    thread.start()
    try:
        yield wire, port
    finally:
        stop.set()
        thread.join(20)
        wire.unplug()
    assert not thread.is_alive()


def outcome(folder: Path, text: str) -> bool:
    return any(text in path.read_text() for path in (folder / "state").glob("audit-*.log"))


def test_a_reader_that_takes_nothing_is_logged_out(tmp_path: Path) -> None:
    with serving(tmp_path, stall_s=0.3) as (wire, _):
        for _ in range(40):
            with contextlib.suppress(BlockingIOError):
                os.write(wire.fd, b"help\r" * 100)
        wait_for(lambda: outcome(tmp_path, "login ended: nobody reads"), "the stall is noticed")
        while wire.read():
            pass
        wire.prompt()


@pytest.mark.parametrize("wired", [True, False])
def test_carrier_that_drops_ends_the_login(tmp_path: Path, wired: bool) -> None:
    """Where the line has that wire; a line without it is judged by nothing that it does not say."""
    with serving(tmp_path) as (wire, port):
        port.on = True if wired else None
        wire.prompt()
        assert "failed: expected a number" in wire.ask("log 0")
        port.on = False if wired else None
        wire.prompt()
        assert ("refused: log in first" in wire.ask("log 0")) == wired
        assert outcome(tmp_path, "login ended: the other end hung up") == wired
