"""The conversation on one line: bytes in, bytes out. It does no I/O of its own on the line, and never waits.

A noisy line (lines that are no commands, faster than a person types; a line that never ends) makes it *quiet*: nothing
is echoed, answered or carried out until the line has been calm for a second. So two machines that answer each other's
noise fall silent, and whoever then presses Enter is at the prompt.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping

from edge.console.commands import Command
from edge.console.commands.desk import Desk
from edge.console.editor import PROMPT, Editor, Frame, Interrupt, Line, Typed
from edge.console.job import Job, Step, Take, Wait
from edge.console.machine import Machine
from edge.console.text import folded
from edge.errors import AuditError, ConsoleError, EdgeError
from edge.plain import plain

log = logging.getLogger(__name__)

OUT_MOST = 16 << 10  # output that waits for the line; a command is not carried on above it
PENDING_MOST = 4 << 10  # input that waits for a command to end
TICK_S = 1.0
CALM_NS = 1_000_000_000
_ANSWERS, _ANSWER_EVERY_NS = 20, 500_000_000  # to lines that are no commands: so many at once, then two a second
_SECRET_WORDS = {"login"}  # commands whose words are not for the audit log


class Shell:
    """Owner: the console's thread. `out` is what the line should get; whoever sends it removes it."""

    def __init__(self, desk: Desk, commands: Mapping[str, Command]) -> None:
        self._desk, self._commands, self._clock = desk, commands, desk.box.clock
        self._machine, self._editor = Machine(desk.box), Editor()
        self.out = bytearray()
        self._pending, self._raw = bytearray(), bytearray()
        self._job: Job | None = None
        self._command = ""
        self._unrecorded: list[tuple[str, str]] = []
        self._wait: Wait | Take | None = None
        self._until_ns = 0
        self._quiet = False
        self._heard_ns = self._refilled_ns = self._clock.now_ns()
        self._answers = _ANSWERS

    # ------------------------------------------------------------------------------------------ for the daemon

    @property
    def fd(self) -> int | None:
        """What a command waits for, beside time."""
        return self._wait.fd if self._job and isinstance(self._wait, Wait) else None

    def due_s(self) -> float:
        """When `step` should be called again, though nothing has come in."""
        if self._job is None or len(self.out) >= OUT_MOST:
            return TICK_S
        return min(TICK_S, max(0.0, (self._until_ns - self._clock.now_ns()) / 1e9))

    def feed(self, data: bytes) -> None:
        """Bytes from the line. What does not fit is dropped: nobody types that fast."""
        now_ns = self._clock.now_ns()
        if self._quiet and now_ns - self._heard_ns >= CALM_NS:
            self._quiet, self._answers = False, _ANSWERS
        self._heard_ns = now_ns
        if isinstance(self._wait, Take):
            data = self._editor.without_lf(data)
            self._raw += data[: PENDING_MOST - len(self._raw)]
            return
        if self._job and b"\x03" in data:
            self._end("interrupted")
            data = data.rpartition(b"\x03")[2]
            self._pending.clear()
        self._pending += data[: PENDING_MOST - len(self._pending)]

    def step(self, readable: bool = False) -> None:
        """Carry on as far as it goes. `readable`: there is something to read at `fd`."""
        self._carry_on(readable)
        while self._job is None and self._pending and len(self.out) < OUT_MOST:
            self._read()
            self._carry_on(False)

    def settle(self) -> None:
        """Write down what was answered. May take as long as the disk does."""
        for command, outcome in self._unrecorded:
            self._desk.audit.note_open(command, outcome)
        self._unrecorded.clear()

    def hang_up(self, why: str) -> None:
        """Nobody is there any more: whatever was going on ends, and so does the login."""
        if self._job:
            self._end(why)
        if self._desk.gate.login:
            self._record(self._desk.gate.who, "(line)", f"login ended: {why}")
            self._desk.gate.end()
        self._editor = Editor()
        for buffer in (self.out, self._pending, self._raw):
            buffer.clear()

    # ------------------------------------------------------------------------------------------ what was typed

    def _read(self) -> None:
        data, at, echo = bytes(self._pending), 0, bytearray()
        while at < len(data) and self._job is None and len(self.out) < OUT_MOST:
            typed, at = self._editor.take(data, at, echo)
            if self._editor.overflown:
                self._quiet = True
            if not self._quiet:
                self.out += echo
            echo.clear()
            if typed is not None:
                self._handle(typed)
        del self._pending[:at]

    def _handle(self, typed: Typed) -> None:
        if isinstance(typed, Frame):
            if answered := self._machine.take(typed.content):
                self._unrecorded.append((answered[0], "answered"))
                self.out += answered[1]
        elif isinstance(typed, Line):
            self._line(typed)
        elif isinstance(typed, Interrupt) and not self._quiet:
            self._answer("^C")

    def _line(self, line: Line) -> None:
        words = line.text.split()
        command = self._commands.get(words[0]) if words else None
        if self._quiet or line.spoilt or command is None:
            if words or line.spoilt:
                self._desk.audit.count()
            if not self._quiet:
                unknown = f"{plain(words[0])[:20]}: no such command, see `help`" if words else ""
                self._answer("noise on the line: nothing was done" if line.spoilt else unknown)
            return
        self._desk.gate.touch()
        self._start(command, words[1:])

    def _answer(self, text: str) -> None:
        """To what is no command, as long as it does not come too often."""
        now_ns = self._clock.now_ns()
        more = (now_ns - self._refilled_ns) // _ANSWER_EVERY_NS
        self._refilled_ns += more * _ANSWER_EVERY_NS
        self._answers = min(_ANSWERS, self._answers + more)
        if self._answers == 0:
            self._quiet = True
            return
        self._answers -= 1
        self._say(text)
        self.out += PROMPT

    def _say(self, text: str) -> None:
        if text:
            self.out += b"".join(line.encode("ascii") + b"\r\n" for line in folded(text))

    # ------------------------------------------------------------------------------------------ a command's life

    def _start(self, command: Command, words: list[str]) -> None:
        secret = words and command.name in _SECRET_WORDS
        self._command = " ".join([command.name, "(not recorded)"] if secret else [command.name, *words])
        try:
            if needed := command.needs(words):
                self._desk.gate.require(needed)
                self._desk.audit.note(self._desk.gate.who, self._command, "begun")
        except (AuditError, ConsoleError) as exc:
            self._record(self._desk.gate.who, self._command, f"refused: {exc}")
            self._say(f"refused: {exc}")
            self.out += PROMPT
            return
        self._job, self._wait = command.run(self._desk, words), None

    def _carry_on(self, readable: bool) -> None:
        while self._job and len(self.out) < OUT_MOST:
            if self._wait and self._clock.now_ns() < self._until_ns:
                come = self._raw if isinstance(self._wait, Take) else readable
                if not come:
                    return
            readable = False
            self._advance()

    def _advance(self) -> None:
        """One step of the command."""
        assert self._job is not None
        sent = bytes(self._raw) if isinstance(self._wait, Take) else None  # None is how a generator is begun
        self._raw.clear()
        self._wait = None
        try:
            step: Step = self._job.send(sent) if sent is not None else next(self._job)
        except StopIteration:
            self._end("done")
        except EdgeError as exc:
            self._end(f"failed: {exc}")
        except Exception as exc:  # a command that is wrong may not take the console with it
            log.exception("%s", self._command)
            self._end(f"failed: {type(exc).__name__}, see the journal")
        else:
            self._take_step(step)

    def _take_step(self, step: Step) -> None:
        if isinstance(step, str):
            self._say(step or " ")
        elif isinstance(step, bytes):
            self.out += step
        else:
            self._wait = step
            self._until_ns = self._clock.now_ns() + int(step.seconds * 1e9)
            if isinstance(step, Take) and self._pending:
                self._raw += self._editor.without_lf(bytes(self._pending))
                self._pending.clear()

    def _end(self, outcome: str) -> None:
        job, self._job, self._wait = self._job, None, None
        self._raw.clear()
        if job is not None:
            with contextlib.suppress(EdgeError):
                job.close()
        if outcome != "done":
            self._say(outcome)
        self._record(self._desk.gate.who, self._command, outcome)
        self.out += PROMPT

    def _record(self, who: str, command: str, outcome: str) -> None:
        """A login lasts only as long as what is done in it can be recorded. What anybody may ask is answered first:
        the disk can take its time."""
        if who == "-":
            self._unrecorded.append((command, outcome))
            return
        try:
            self._desk.audit.note(who, command, outcome)
        except AuditError as exc:
            self._desk.gate.end()
            self._say(f"logged out: {exc}")
