"""The spool: a folder of pictures and records with a bounded size, written by a thread of its own. Never in the way of
the loop.

    SPOOL/PROCEDURE/NAME.jpg   NAME.mkv   and NAME.json, which says what they show and is written last
    SPOOL/PROCEDURE/record.json           what else lies there: edge/spooled.py

What is there is whole: a file gets its name after it was flushed. Over `max_bytes` old ones make room (`room.py` has
the order); by their dates, which never go back, however the clock is set. A full disk or a read-only one is a state: it
is said, pictures that cannot be written are dropped and counted, and the next one is tried. A record is kept in memory
and tried again.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from edge import clock, spooled
from edge.durable import BEGUN, sync_folder
from edge.errors import EdgeError
from edge.procedure import Record
from edge.record import room, shown
from edge.record.room import FRESH
from edge.types import Struct

log = logging.getLogger(__name__)

WAITING_MOST = 32
STOP_WITHIN_S = 10.0
AGAIN_S = 1.0  # a record that could not be written is tried again so soon
NOT_SENT = "the spool was full (record.max_mib) and the report server did not have it yet"

Write = Callable[[Path], None]
"""Writes one file at the given path. Raises OSError or EdgeError."""
MakeRecord = Callable[[Path], bytes]
"""A procedure's `record.json`, given its folder. Called in the spool's thread. Raises OSError."""


class Job(NamedTuple):
    """All files of one NAME, by suffix, in the order in which they are written."""

    folder: str
    name: str
    files: dict[str, bytes | Write]


class SpoolStatus(Struct, frozen=True, kw_only=True):
    """In the core's status file."""

    saved: int = 0  # NAMEs written since start
    dropped: int = 0  # ... and not: the disk was too slow, too full, or broken
    removed: int = 0  # ... and old ones, or whole procedures, that made room
    bytes: int = 0  # in the spool now
    fault: str = ""
    procedures: int = 0  # whose record lies in the spool now
    waiting: int = 0  # records that could not be written yet


class Spool:
    """`put`, `put_record`, `bury` belong to the core loop's thread, the files to the spool's own."""

    def __init__(self, path: Path, max_bytes: int, *, owed: bool = False, keep_sent: int = 0) -> None:
        """`owed`: a report server is to have each procedure, so that none goes without a word. `keep_sent`: so many of
        those that it has may stay."""
        self._path, self._max_bytes, self._owed, self._keep_sent = path, max_bytes, owed, keep_sent
        self._jobs: queue.Queue[Job | Literal["look"] | None] = queue.Queue(WAITING_MOST)
        self._records: dict[str, MakeRecord] = {}  # by procedure; guarded by the lock
        self._lock = threading.Lock()
        self._saved = self._dropped = self._removed = self._bytes = self._procedures = 0
        self._tombs: dict[str, str] = {}
        self._told: list[str] = []
        self._counted = self._closed_others = False
        self._fault, self._newest_ns = "", 0
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> bool:
        """Never waits. False: there is no room, and the job is lost."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._dropped += 1
            return False
        return True

    def put_record(self, procedure: str, make: MakeRecord) -> None:
        """Never waits, and is not lost: written after the pictures that wait now, in place of one that was not written
        yet."""
        with self._lock:
            self._records[procedure] = make
        self._look()

    def tombs(self) -> dict[str, str]:
        """Procedures that are gone before a report server had them, and why."""
        return self._tombs

    def bury(self, procedure: str) -> None:
        """The event that says so is in the outbox."""
        self._told.append(procedure)
        self._look()

    def _look(self) -> None:
        with contextlib.suppress(queue.Full):  # it looks after each job
            self._jobs.put_nowait("look")

    def status(self) -> SpoolStatus:
        return SpoolStatus(
            saved=self._saved,
            dropped=self._dropped,
            removed=self._removed,
            bytes=self._bytes,
            fault=self._fault,
            procedures=self._procedures,
            waiting=len(self._records),
        )

    def close(self) -> None:
        """Write what waits, within STOP_WITHIN_S."""
        with contextlib.suppress(queue.Full):
            self._jobs.put(None, timeout=STOP_WITHIN_S)
        self._thread.join(STOP_WITHIN_S)

    # ---------------------------------------------------------------------------------- its own thread

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # said at the first job
            self._tidy()
        while (job := self._next()) is not None:
            if isinstance(job, Job) and not self._try(job):
                self._dropped += 1
            if self._jobs.empty():
                self._write_records()
                self._bury()
        self._write_records()
        self._bury()

    def _next(self) -> Job | Literal["look"] | None:
        try:
            return self._jobs.get(timeout=AGAIN_S if self._records else None)
        except queue.Empty:
            return "look"

    def _bury(self) -> None:
        while self._told:
            procedure = self._told.pop()
            tomb = self._path / procedure / spooled.DROPPED
            self._tombs = {name: why for name, why in self._tombs.items() if name != procedure}
            with contextlib.suppress(OSError):  # then the next core says it once more
                self._bytes -= room.size(tomb)
                tomb.unlink(missing_ok=True)
                tomb.parent.rmdir()

    def _write_records(self) -> None:
        with self._lock:
            records = list(self._records.items())
        for procedure, make in records:
            if not self._try(Job(procedure, "record", {".json": functools.partial(_write_made, make)})):
                return
            with self._lock:
                if self._records.get(procedure) is make:
                    del self._records[procedure]

    def _try(self, job: Job) -> bool:
        try:
            if not self._counted:
                self._tidy()
            self._write(job)
            if job.name == "record":
                self._let_go_of_sent()
        except (OSError, EdgeError) as exc:
            self._counted = False  # nobody knows how far it came
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            if not self._fault:
                log.error("%s: %s; pictures are lost until it works again", self._path, reason)
            self._fault = f"{self._path}: {reason}"
            return False
        self._saved += job.name != "record"
        self._fault = ""
        return True

    def _tidy(self) -> None:
        """Remove what a power cut or a fault left half written, count what is there, and close what another run left
        open."""
        for left in (*self._path.glob(f"*/*{FRESH}"), *self._path.glob(f"*/{BEGUN}*")):
            with contextlib.suppress(OSError):
                left.unlink()
        files = list(self._path.glob("*/*"))
        self._newest_ns = max([self._newest_ns, *map(room.date_ns, files)])
        self._bytes = sum(map(room.size, files))
        self._procedures = sum(file.name == spooled.RECORD for file in files)
        if not self._closed_others:
            self._close_others()
            tombs = (spooled.read_dropped(file.parent) for file in files if file.name == spooled.DROPPED)
            self._tombs = {tomb.procedure: tomb.reason for tomb in tombs if tomb is not None}
            self._closed_others = True
        self._counted = True

    def _close_others(self) -> None:
        """A procedure that a run before this one did not see the end of."""
        for path in self._path.glob(f"*/{spooled.RECORD}"):
            record = spooled.read_record(path.parent)
            if not isinstance(record, str) and record.state == "running":
                with self._lock:
                    self._records.setdefault(record.procedure, functools.partial(_close, record))

    def _write(self, job: Job) -> None:
        folder = self._path / job.folder
        folder.mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        self._newest_ns = clock.date_after(self._newest_ns)
        try:
            for suffix, content in job.files.items():
                fresh = folder / f"{job.name}{suffix}{FRESH}"
                written.append(fresh)
                _write_file(fresh, content, self._newest_ns)
            self._make_room(sum(room.size(fresh) for fresh in written), spare=(job.folder, job.name))
            for fresh in written:
                final = fresh.with_name(fresh.name.removesuffix(FRESH))
                self._bytes += room.size(fresh) - room.size(final)
                self._procedures += final.name == spooled.RECORD and not final.exists()
                fresh.replace(final)
        finally:
            for fresh in written:
                with contextlib.suppress(OSError):  # `_tidy` comes again
                    fresh.unlink(missing_ok=True)
        sync_folder(folder)

    def _make_room(self, needed: int, spare: tuple[str, str]) -> None:
        if self._bytes + needed <= self._max_bytes:
            return
        if needed > self._max_bytes:
            raise EdgeError(f"{needed} bytes at once are more than record.max_mib allows")
        for piece in room.pieces(self._path, spare):
            self._remove(piece)
            if self._bytes + needed <= self._max_bytes:
                return
        raise EdgeError("one procedure alone needs more than record.max_mib allows")

    def _remove(self, piece: room.Piece) -> None:
        gone = sum(map(room.size, piece.files))
        dropped = room.remove(piece, NOT_SENT if self._owed else "")
        self._bytes -= gone
        self._procedures -= any(file.name == spooled.RECORD for file in piece.files)
        self._removed += 1
        if dropped is not None:
            self._bytes += room.size(piece.folder / spooled.DROPPED)
            self._tombs = {**self._tombs, dropped.procedure: dropped.reason}
            log.error("procedure %s is removed: %s", dropped.procedure, dropped.reason)

    def _let_go_of_sent(self) -> None:
        sent = room.sent(self._path)
        for piece in sent[: max(0, len(sent) - self._keep_sent)]:
            self._remove(piece)


def _close(record: Record, folder: Path) -> bytes:
    return msgspec.json.encode(shown.interrupted(record, folder))


def _write_made(make: MakeRecord, path: Path) -> None:
    path.write_bytes(make(path.parent))


def _write_file(path: Path, content: bytes | Write, date_ns: int) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    os.utime(path, ns=(date_ns, date_ns))
    with path.open("rb") as file:
        os.fsync(file.fileno())
