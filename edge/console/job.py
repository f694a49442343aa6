"""What a command is: a generator that is carried on only while its output has somewhere to go.

It yields a line for people (`str`), bytes for the line as they are, or a wait. It never sleeps and never writes, so a
reader that does not read holds up the command and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Generator, Sequence
from typing import NamedTuple

from edge.clock import Clock
from edge.errors import ConsoleError


class Wait(NamedTuple):
    """Go on after so long, or when `fd` can be read. ^C ends the command."""

    seconds: float
    fd: int | None = None


class Take(NamedTuple):
    """Go on after so long, or with the bytes that came in: the command has the line for itself, ^C included."""

    seconds: float


Step = str | bytes | Wait | Take
Job = Generator[Step, bytes | None, None]
"""It is sent the bytes that came in during a Take, b"" when none did."""

_READ_BYTES = 1 << 16
_BURIAL_S = 0.2


class Ended(NamedTuple):
    """A child's exit code, and the beginning of what it printed."""

    code: int
    output: bytes
    cut: bool  # there was more

    @property
    def last_words(self) -> str:
        """Its last line."""
        lines = self.output.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self.code}"


def child(
    argv: Sequence[str], clock: Clock, within_s: float, most_bytes: int = 1 << 18
) -> Generator[Step, bytes | None, Ended]:
    """Run a program without a shell, a terminal or input; it is killed, with its children, when it takes too long, says
    too much, or the command ends. Raises ConsoleError."""
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
        )
    except OSError as exc:
        raise ConsoleError(f"{argv[0]}: cannot be started: {exc.strerror}") from exc
    assert process.stdout is not None
    until_ns = clock.now_ns() + int(within_s * 1e9)
    said, fd = bytearray(), process.stdout.fileno()
    os.set_blocking(fd, False)
    try:
        while len(said) <= most_bytes:
            left_s = (until_ns - clock.now_ns()) / 1e9
            if left_s <= 0:
                raise ConsoleError(f"{argv[0]}: no answer within {within_s:g} s")
            yield Wait(min(left_s, 1.0), fd)
            with contextlib.suppress(BlockingIOError):
                piece = os.read(fd, _READ_BYTES)
                if not piece:
                    break
                said += piece
        if len(said) > most_bytes:
            return Ended(0, bytes(said[:most_bytes]), True)
        while process.poll() is None:  # it closed its output; most are gone at once
            if clock.now_ns() > until_ns:
                raise ConsoleError(f"{argv[0]}: does not end")
            yield Wait(0.01)
        return Ended(process.returncode, bytes(said), False)
    finally:
        process.stdout.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # a disk that hangs keeps even the killed
                process.wait(_BURIAL_S)
