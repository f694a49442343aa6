"""A console without a line (`Person` types into its shell), and one in a process of its own on a pty (`Wire`)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.audit import Audit
from edge.clock import Clock, Wall
from edge.console import tokens
from edge.console.box import Box
from edge.console.commands import COMMANDS
from edge.console.commands.desk import Desk
from edge.console.editor import PROMPT
from edge.console.gate import Gate
from edge.console.job import Wait
from edge.console.orders import Orders
from edge.console.shell import Shell
from edge.console.tokens import Claims, Right
from tools import service_token

ROOT = Path(__file__).parents[2]
DEVICE = "theatre-3"
ALL: tuple[Right, ...] = ("diagnose", "restart")
BOOT = "0d1f5f0e-6f0a-4c7e-9d0b-2f0f5d1f7a11"
NOW = 1_790_000_000  # seconds since 1970 of a wall clock that is right
WITHIN_S = 60.0  # only a failure comes to it


class HandClock:
    """A clock that is turned by hand. `boot` is another after a restart."""

    def __init__(self, wall_s: float = NOW, trusted: bool = True, boot: str = BOOT) -> None:
        self.boot, self._ns = boot, 1_000_000_000_000
        self.set_wall(wall_s, trusted)

    def now_ns(self) -> int:
        return self._ns

    def wall(self) -> Wall:
        return self._wall

    def pass_s(self, seconds: float) -> None:
        self._ns += int(seconds * 1e9)
        self.set_wall(self._wall.at_s + seconds, self._wall.trusted)

    def set_wall(self, at_s: float, trusted: bool) -> None:
        self._wall = Wall(at_s, trusted, "chrony" if trusted else "none")


def make_keys(folder: Path, name: str = "service") -> Path:
    """The private key; the public one lies in `folder`/keys."""
    (folder / "keys").mkdir(exist_ok=True)
    key, pem = service_token.make_keys(folder / name, "")
    pem.rename(folder / "keys" / pem.name)
    return key


def signed(key: Path, nonce: str, **other: Any) -> str:
    claims: dict[str, Any] = {
        "device": DEVICE,
        "name": "A. Engineer",
        "issued": NOW,
        "not_after": NOW + 3600,
        "rights": ALL,
    }
    return service_token.sign(key, "", Claims(**(claims | {"nonce": nonce} | other)))


def script(path: Path, text: str) -> tuple[str, ...]:
    """A program that says what a real one would say here if it had a system under it."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return (str(path),)


def desk(folder: Path, clock: Clock | None = None, **box: Any) -> Desk:
    """Everything under `folder`: run, state, keys, endoedge.toml."""
    clock = clock or HandClock()
    (folder / "run").mkdir(exist_ok=True)
    paths: dict[str, Any] = {
        "device": DEVICE,
        "config_file": folder / "endoedge.toml",
        "run_dir": folder / "run",
        "outbox": folder / "outbox.db",
        "clock": clock,
        "orders": Orders(folder / "asked", folder / "ended"),
    }
    return Desk(
        box=Box(**(paths | box)),
        gate=Gate(DEVICE, lambda: tokens.load_keys(folder / "keys"), folder / "state", clock, 600),
        audit=Audit(folder / "state", clock),
    )


class Person:
    """Types into a shell, and reads all that it says."""

    def __init__(self, folder: Path, clock: HandClock | None = None, **box: Any) -> None:
        self.clock = clock or HandClock()
        self.desk = desk(folder, self.clock, **box)
        self.shell = Shell(self.desk, COMMANDS)
        self.folder = folder

    def sees(self) -> bytes:
        """Everything that is on its way to the terminal."""
        said = bytes(self.shell.out)
        self.shell.out.clear()
        return said

    def types(self, keys: bytes | str) -> str:
        """What it says to that; the commands' own waits are waited for."""
        self.shell.feed(keys.encode() if isinstance(keys, str) else keys)
        said = self.waits()
        self.shell.settle()
        return said

    def waits(self) -> str:
        said, deadline = b"", time.monotonic() + WITHIN_S
        self.shell.step()
        while True:
            said += self.sees()
            fd = self.shell.fd
            if not isinstance(self.shell._wait, Wait) and not self.shell.out:
                return said.decode("ascii")
            assert time.monotonic() < deadline, said
            ready = bool(select.select([fd] if fd is not None else [], [], [], 0.01 if fd is None else 1.0)[0])
            self.clock.pass_s(0 if ready else 0.01)
            self.shell.step(readable=ready)

    def asks(self, command: str) -> str:
        """A command's answer alone: without the echo and the prompt."""
        said = self.types(command + "\r")
        assert said.startswith(command + "\r\n"), said
        assert said.endswith(PROMPT.decode()), said
        return said.removeprefix(command + "\r\n").removesuffix(PROMPT.decode())

    def logs_in(self, key: Path, **other: Any) -> str:
        found = re.search(r"nonce +([0-9a-f]{32})", self.asks("login"))
        assert found
        return self.asks(f"login {signed(key, found[1], **other)}")

    def audit(self) -> list[dict[str, Any]]:
        lines = b"".join(path.read_bytes() for path in sorted((self.folder / "state").glob("audit-*.log")))
        return [json.loads(line) for line in lines.splitlines()]


class Systemd(contextlib.AbstractContextManager["Systemd"]):
    """Takes the orders for units that it knows, as `systemd/endoedge-order@.service` does. `results`: unit → what comes
    of it; `acts`: what it does meanwhile."""

    def __init__(self, folder: Path, results: dict[str, str], acts: Callable[[str], None] = lambda _unit: None) -> None:
        self.orders = Orders(folder / "asked", folder / "ended")
        self.taken: list[str] = []
        self._results, self._acts, self._stop = results, acts, threading.Event()
        for path in self.orders:
            path.mkdir()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            for unit, result in self._results.items():
                if (self.orders.asked / unit).exists():
                    (self.orders.asked / unit).unlink()
                    self.taken.append(unit)
                    self._acts(unit)
                    (self.orders.ended / unit).write_text(f"{result}\n")

    def __enter__(self) -> Systemd:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()


class Wire:
    """The terminal's end of a pty. The console opens a link, which leads to another pty after `unplug` and `plug`."""

    def __init__(self, link: Path) -> None:
        self._link = link
        self._ends: tuple[int, int] | None = None
        self.plug()

    @property
    def fd(self) -> int:
        assert self._ends is not None
        return self._ends[0]

    def plug(self) -> None:
        ends = os.openpty()
        tty.setraw(ends[1], termios.TCSANOW)
        os.set_blocking(ends[0], False)
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(os.ttyname(ends[1]))
        self._ends = ends

    def unplug(self) -> None:
        for end in self._ends or ():
            os.close(end)
        self._ends = None
        self._link.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """All of it, however slowly the console takes it; what it says meanwhile is thrown away."""
        deadline = time.monotonic() + 120
        while data:
            assert time.monotonic() < deadline, f"{len(data)} bytes were never taken"
            readable, writable, _ = select.select([self.fd], [self.fd], [], 1.0)
            if readable:
                self.read()
            if writable:
                with contextlib.suppress(BlockingIOError):
                    data = data[os.write(self.fd, data[:4096]) :]

    def read(self) -> bytes:
        """What has come in; b"" when nothing has."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self.fd, 1 << 16)
        return b""

    def drain(self, quiet_s: float = 1.0) -> None:
        """All that comes, until nothing has come for so long."""
        deadline = time.monotonic() + 120
        while select.select([self.fd], [], [], quiet_s)[0]:
            assert time.monotonic() < deadline, "it never ends"
            self.read()

    def until(self, end: bytes, within_s: float = WITHIN_S) -> bytes:
        """All up to and with `end`."""
        said, deadline = b"", time.monotonic() + within_s
        while not said.endswith(end):
            assert time.monotonic() < deadline, f"no {end!r} in {said[-400:]!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                said += self.read()
        return said

    def ask(self, command: str) -> str:
        """What is answered after the command's own echo: earlier answers may still be on their way."""
        self.write(command.encode() + b"\r")
        echo, said, deadline = command.encode() + b"\r\n", b"", time.monotonic() + WITHIN_S
        while not said.partition(echo)[2].endswith(PROMPT):
            assert time.monotonic() < deadline, f"no answer to {command!r} in {said[-400:]!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                said += self.read()
        return said.partition(echo)[2].decode("ascii")

    def prompt(self, within_s: float = WITHIN_S) -> bytes:
        """Press Enter, now and then, until the console is at its prompt: it keeps quiet on a noisy line."""
        deadline = time.monotonic() + within_s
        while True:
            self.write(b"\r")
            with contextlib.suppress(AssertionError):
                return self.until(PROMPT, 1.5)
            assert time.monotonic() < deadline, "not back at the prompt"


@contextlib.contextmanager
def console(
    folder: Path, *extra: str, env: Mapping[str, str] = os.environ
) -> Iterator[tuple[Wire, subprocess.Popen[bytes]]]:
    """`endoedge console` as a process, on a line of its own; `extra` are lines of its `[console]` table.

    Programs in `folder`/bin come before the system's.
    """
    write_site(folder, extra)
    wire = Wire(folder / "tty")
    command = [sys.executable, "-m", "edge.cli", "console", "-c", str(folder / "endoedge.toml")]
    with (folder / "console.log").open("wb") as log:
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        process = subprocess.Popen(command, env={**env, "PYTHONPATH": str(ROOT), "PATH": path}, stderr=log)
    try:
        yield wire, process
    finally:
        process.terminate()
        process.wait(WITHIN_S)
        wire.unplug()


def write_site(folder: Path, console_lines: Sequence[str] = ()) -> None:
    lines = [
        f'device = "{DEVICE}"\npipeline = "colonoscopy"\nrun_dir = "run"',
        '[capture]\nsource = "phantom"\n[uplink]\nhost = "localhost"\n[outbox]\npath = "outbox.db"',
        f'[console]\nport = "{folder / "tty"}"\nstate_dir = "state"\nkeys_dir = "keys"',
        *console_lines,
    ]
    (folder / "run").mkdir(exist_ok=True)
    (folder / "endoedge.toml").write_text("\n".join(lines) + "\n")
