"""Who typed what: one JSON line each, every line carrying the sha256 of the line before it.

    STATE/audit-000000000001.log   named after the first sequence number in it; a full file is followed by the next

A line is on the disk when `note` returns (fsync). The oldest files go when there are more than `keep`. A chain shows
that a line was changed, removed or put in; it cannot show that the newest lines were cut off, so its head is told to
the journal, at each start and with all that was done in a login, and to whoever logs in.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge.clock import Clock
from edge.durable import sync_folder
from edge.errors import AuditError
from edge.plain import plain
from edge.types import Struct

log = logging.getLogger(__name__)

FILE_BYTES = 1 << 20
KEEP = 16
FIRST = "0" * 64  # what the very first line follows
OPEN_A_MINUTE = 60  # lines for commands that nobody had to log in for: a chatty line may not wash the others away
_MINUTE_NS = 60_000_000_000
_COMMAND_CHARS = 200
_LINE_BYTES = 2048  # more than any line takes


class Entry(Struct, frozen=True, kw_only=True):
    """One line of the log."""

    seq: int
    boot: str
    mono_ns: int
    at: str  # wall clock, UTC
    trusted: bool  # ... and whether it could be believed
    who: str  # the name in the service token; "-" when nobody was logged in
    command: str
    outcome: str
    unlisted: int  # open commands and lines of noise since the line before that have no line of their own
    prev: str  # sha256 of the line before, without its newline


class Head(NamedTuple):
    """The newest line."""

    seq: int
    digest: str


class Audit:
    """Owner: the console's thread. Files are opened when something is noted: a disk that comes back is used."""

    def __init__(self, folder: Path, clock: Clock, file_bytes: int = FILE_BYTES, keep: int = KEEP) -> None:
        self.folder, self._clock, self._file_bytes, self._keep = folder, clock, file_bytes, keep
        self._head: Head | None = None
        self._path = Path()
        self._file = -1
        self._size = self._unlisted = self._open_notes = 0
        self._torn = False  # a line that failed lies in the file behind `_size`
        self._minute_ns = clock.now_ns()

    @property
    def head(self) -> Head | None:
        """None before the first look at the disk."""
        return self._head

    def note(self, who: str, command: str, outcome: str) -> None:
        """Durable on return. Raises AuditError: the disk is full, read-only, gone; nothing was written then."""
        try:
            self._open()
            self._append(who, command, outcome)
        except OSError as exc:
            self.close()
            raise AuditError(f"audit log {self.folder}: {exc.strerror}") from exc

    def note_open(self, command: str, outcome: str) -> None:
        """As `note`, of what needs no login; only counted where the disk fails or the minute has had its share."""
        now_ns = self._clock.now_ns()
        if now_ns - self._minute_ns >= _MINUTE_NS:
            self._minute_ns, self._open_notes = now_ns, 0
        self._open_notes += 1
        if self._open_notes > OPEN_A_MINUTE:
            return self.count()
        try:
            return self.note("-", command, outcome)
        except AuditError:
            return self.count()

    def count(self) -> None:
        """Something that gets no line: the next line says how many."""
        self._unlisted += 1

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        if self._file >= 0 and self._path.exists():
            return
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        newest = files(self.folder)[-1:]
        if self._head is None:
            self._head = self._find_head()
        self._path = newest[0] if newest else self._name(self._head.seq + 1)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        good, self._size = self._size, os.fstat(self._file).st_size
        if self._torn and self._size > good:
            self._size = good
            os.ftruncate(self._file, good)
        self._torn = False
        sync_folder(self.folder)

    def _find_head(self) -> Head:
        """Of the newest file that has a line. Half a line at its end is what a power cut left: it is cut off."""
        for path in reversed(files(self.folder)):
            content = path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                os.truncate(path, len(whole))
                self._unlisted += 1
            if lines := whole.splitlines():
                return Head(_seq(lines[-1], path), _digest(lines[-1]))
        return Head(0, FIRST)

    def _append(self, who: str, command: str, outcome: str) -> None:
        assert self._head is not None
        wall = self._clock.wall()
        entry = Entry(
            seq=self._head.seq + 1,
            boot=self._clock.boot,
            mono_ns=self._clock.now_ns(),
            at=str(wall),
            trusted=wall.trusted,
            who=plain(who)[:_COMMAND_CHARS],
            command=plain(command)[:_COMMAND_CHARS],
            outcome=plain(outcome)[:_COMMAND_CHARS],
            unlisted=self._unlisted,
            prev=self._head.digest,
        )
        line = msgspec.json.encode(entry)
        if self._size and self._size + len(line) + 1 > self._file_bytes:
            self._turn(entry.seq)
        try:
            if os.write(self._file, line + b"\n") <= len(line):
                raise OSError(28, "no space left for a whole line")
            os.fsync(self._file)
        except OSError:
            self._torn = True
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
                self._torn = False
            raise
        self._size += len(line) + 1
        self._head, self._unlisted = Head(entry.seq, _digest(line)), 0
        if who != "-":  # a second copy, which journald seals by its own means
            log.info("%s: %s: %s (audit line %d, %s)", entry.who, entry.command, entry.outcome, *self._head)

    def _turn(self, seq: int) -> None:
        """The next file. No file is ever renamed, so a power cut cannot mix them up."""
        self.close()
        self._path = self._name(seq)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = 0
        for old in files(self.folder)[: -self._keep]:
            old.unlink()
        sync_folder(self.folder)

    def _name(self, seq: int) -> Path:
        return self.folder / f"audit-{seq:012d}.log"


def files(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(folder.glob(f"audit-{'[0-9]' * 12}.log"))


def verify(path: Path) -> str:
    """Of a file, or of a folder's whole chain: what holds, in one line. Raises AuditError naming the first line that
    does not follow from the one before it."""
    chain = files(path) if path.is_dir() else [path]
    head: Head | None = None
    count = 0
    for file, number, line in _lines(chain):
        where = f"{file}: line {number}"
        entry = _entry(line, where)
        if head is None:
            begin = Head(0, FIRST) if entry.seq == 1 else Head(entry.seq - 1, entry.prev)  # older files were removed
            head = begin
        if entry.seq != head.seq + 1:
            raise AuditError(f"{where}: has sequence number {entry.seq}, expected {head.seq + 1}")
        if entry.prev != head.digest:
            raise AuditError(f"{where}: does not follow from the line before it: one of the two was changed")
        head = Head(entry.seq, _digest(line))
        count += 1
    if head is None:
        raise AuditError(f"{path}: holds no audit log")
    return f"{count} lines hold, {head.seq - count + 1} to {head.seq}, head {head.digest}"


def _lines(chain: list[Path]) -> Iterator[tuple[Path, int, bytes]]:
    for file in chain:
        try:
            with file.open("rb") as opened:
                yield from ((file, number, line) for number, line in enumerate(_bounded(opened.read()), 1))
        except OSError as exc:
            raise AuditError(f"{file}: cannot be read: {exc.strerror}") from exc


def _bounded(content: bytes) -> list[bytes]:
    return content.removesuffix(b"\n").split(b"\n") if content else []


def _entry(line: bytes, where: str) -> Entry:
    try:
        return msgspec.json.decode(line[:_LINE_BYTES], type=Entry)
    except msgspec.DecodeError as exc:
        raise AuditError(f"{where}: is no line of an audit log: {exc}") from exc


def _seq(line: bytes, path: Path) -> int:
    """Of a line that may have been tampered with: the log goes on after it, and `verify` will name it."""
    try:
        return _entry(line, str(path)).seq
    except AuditError:
        return int(path.stem.removeprefix("audit-"))


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
