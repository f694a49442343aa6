"""kill -9 of the console, on a pty, with somebody logged in and typing."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edge import audit
from edge.console.editor import PROMPT
from edge.errors import AuditError
from tests.support.console import Wire, make_keys, signed, write_site
from tools.faults import ROOT

TITLE = "kill -9 of the console"
PROMISE = "it is back at its prompt, the login is gone, and what was answered in it is in an audit log that holds"
TIMES = 200

STARTS_WITHIN_S = 30.0
LIFE_S = 0.2
OPEN = ("status", "outbox", "time", "faults")
CLOSED = ("log 1", "procedure")  # for people who are logged in; each is noted before it is answered


def missing() -> str:
    absent = [name for name in ("serial", "cryptography") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    write_site(folder)
    key, wire = make_keys(folder), Wire(folder / "tty")
    noted: Counter[str] = Counter()
    try:
        for _ in range(times):
            process = _started(folder)
            try:
                answered = _talk(wire, key, dice)
            except AssertionError as exc:  # the rig's waits
                yield str(exc)
                continue
            finally:
                process.kill()
                process.wait()
            wrong, found = _judged(folder / "state" / "tty", noted + answered)
            noted = found
            yield wrong
    finally:
        wire.unplug()


def _started(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edge.cli", "console", "-c", str(folder / "endoedge.toml")]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=log)


def _talk(wire: Wire, key: Path, dice: random.Random) -> Counter[str]:
    """Up to an instant in the middle of something. What was answered of all that has to be noted."""
    _wait_for_the_prompt(wire)
    answer = wire.ask(CLOSED[0])
    assert "log in first" in answer, f"a login has outlived the console: {answer}"
    nonce = re.search(r"nonce +(\w+)", wire.ask("login"))
    assert nonce, "no nonce was given"
    now = int(time.time())
    answer = wire.ask(f"login {signed(key, nonce[1], issued=now, not_after=now + 600)}")
    assert "welcome" in answer, f"the login was refused: {answer}"
    answered: Counter[str] = Counter()
    for _ in range(dice.randint(0, 4)):
        command = dice.choice(OPEN + CLOSED)
        wire.ask(command)
        answered[command] += 1
    wire.write(dice.choice(OPEN + CLOSED).encode() + b"\r")
    time.sleep(dice.uniform(0, LIFE_S))
    return answered


def _wait_for_the_prompt(wire: Wire) -> None:
    """Enter, again and again: what is typed before the line is opened is thrown away."""
    deadline = time.monotonic() + STARTS_WITHIN_S
    while True:
        wire.write(b"\r")
        with contextlib.suppress(AssertionError):
            wire.until(PROMPT, 0.1)
            return
        assert time.monotonic() < deadline, "the console does not start any more"


def _judged(state: Path, answered: Counter[str]) -> tuple[str, Counter[str]]:
    """What is wrong, and how often each command is in the log as done in a login."""
    try:
        audit.verify(state)
    except AuditError as exc:
        return str(exc), answered
    lines = [line for file in audit.files(state) for line in file.read_bytes().splitlines()]
    entries = [msgspec.json.decode(line, type=audit.Entry) for line in lines]
    found = Counter(entry.command for entry in entries if entry.who != "-" and entry.outcome != "begun")
    lost = answered - found
    return (f"answered and not noted: {dict(lost)}" if lost else ""), found
