"""The durable queue between core and uplink: one SQLite file, one table, first in, first out within a channel.

Core owns an `Outbox` (writer); the uplink, another process, owns an `OutboxReader`. Neither object may leave the
thread that opened it (sqlite3 enforces it). An event is *committed* when `put` returns: WAL + synchronous=FULL, so
it survives a power cut. The wake-up datagram that follows is a courtesy; a reader polls as well.

Beside `NAME` live `NAME-wal` and `NAME-shm` (SQLite's), `NAME.lock` (whose turn it is to write) and `NAME.mark`, which
holds a number no `seq` has passed.
A damaged outbox is moved to `NAME.corrupt-<time>` untouched; a new one starts above the mark, so `seq` stays strictly
increasing, and every message that can still be read is carried over under its own id and seq.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge import clock
from edge.clock import Moment
from edge.durable import sync_folder
from edge.errors import OutboxBrokenError, OutboxError, OutboxFullError
from edge.messages import Alert, AlertCleared, Event, Message
from edge.outbox_lock import turn
from edge.outbox_repair import (
    OutboxDamagedError,
    look_at_header,
    move_aside,
    read_mark,
    readable_messages,
    wal_path,
    write_mark,
)
from edge.stamp import committed, stamped

log = logging.getLogger(__name__)

CHANNELS = ("alert", "event")  # order is kept within a channel; alerts never wait behind events
PAGE_BYTES = 4096
MIN_BYTES = 64 * PAGE_BYTES

_APPLICATION_ID = 0x454E444F  # "ENDO" in SQLite's header: this file is ours
_SCHEMA_VERSION = 1
_SCHEMA = f"""
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  channel TEXT NOT NULL,
  id TEXT NOT NULL,
  committed_at TEXT NOT NULL,
  payload BLOB NOT NULL
);
CREATE INDEX outbox_channel ON outbox (channel, seq);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_SCHEMA_VERSION};
"""
_INSERT = "INSERT INTO outbox (seq, channel, id, committed_at, payload) VALUES (?, ?, ?, ?, ?)"

_LOCK_WAIT_S = 1.0  # core has frames to look at: better a typed "not now" than a long wait
_WAL_BYTES = 2 << 20  # kept allocated: a commit that finds the disk full still has room to land in
# The reader checkpoints early and the writer late, so that in ordinary times no `put` ever pays for a checkpoint.
_READER_CHECKPOINT_PAGES = 64
_WRITER_CHECKPOINT_PAGES = 256
_OVERFLOW_BYTES = PAGE_BYTES - 4  # of a blob, per page
_BALLAST_PAGES = 1 << 16  # per blob: SQLite takes 10^9 bytes at most
_MARK_STEP = 1_000_000_000  # far more than one run can write; 2^53 (JSON's exact integers) allows 9 million recoveries


class Row(NamedTuple):
    """One committed message as it waits."""

    seq: int
    id: str
    payload: bytes  # the MQTT payload: `edge.messages.Message` as JSON


# SQLite's own words (sqlite3_errstr; Python 3.10 has no error codes) → our error and what to tell people.
_FAULTS: tuple[tuple[str, type[OutboxError], str], ...] = (
    ("full", OutboxFullError, "no room left: its size cap is reached or the disk is full"),
    ("locked", OutboxFullError, "another process kept it locked"),
    ("readonly", OutboxBrokenError, "is read-only: this user must be able to write the file and its folder"),
    ("malformed", OutboxDamagedError, "is damaged"),
    ("not a database", OutboxDamagedError, "is damaged: its header is gone"),
    (
        "unable to open",
        OutboxBrokenError,
        "cannot be opened: the folder must exist and this user must be able to write it",
    ),
)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, naming the file."""
    try:
        yield
    except sqlite3.Error as exc:
        raise _fault(path, exc) from exc


def _fault(path: Path, exc: sqlite3.Error) -> OutboxError:
    said = str(exc)
    for needle, kind, text in _FAULTS:
        if needle in said:
            return kind(f"outbox {path}: {text} ({said})")
    if "I/O" in said and _disk_is_full(path):  # e.g. the shared-memory file could not grow
        return OutboxFullError(f"outbox {path}: the disk is full ({said})")
    return OutboxBrokenError(f"outbox {path}: {said}")


def _disk_is_full(path: Path) -> bool:
    try:
        return os.statvfs(path.parent).f_bavail == 0
    except OSError:
        return False


def _connect(path: Path, *, mode: str, wait_s: float) -> sqlite3.Connection:
    """`mode`: "rwc" may create the file, "rw" may not."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=wait_s, isolation_level=None)


def channel_of(event: Event) -> str:
    """The channel (and MQTT topic) an event travels on."""
    return "alert" if isinstance(event, Alert | AlertCleared) else "event"


class Outbox:
    """Core's end. Owner: the thread that opened it."""

    def __init__(
        self, path: Path, device: str, notify: Path | None, db: sqlite3.Connection, now: Callable[[], Moment]
    ) -> None:
        self._path, self._device, self._db, self._now = path, device, db, now
        self._file = _identity(path)
        self._notify = str(notify) if notify else ""
        self._bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._bell.setblocking(False)

    @classmethod
    def open(
        cls,
        path: Path,
        device: str,
        max_bytes: int,
        notify: Path | None = None,
        now: Callable[[], Moment] = clock.moment,
    ) -> Outbox:
        """Open or create, in a process that does not have it open yet (POSIX locks would be lost).

        `max_bytes` caps the table; the WAL adds 2 MiB. All of it is taken from the disk when the file is made. A larger
        cap later grows it when needed; a smaller one leaves the file as it is.
        `notify`: a unix datagram socket to ring after each commit. `now`: the time
        that messages are given. Raises OutboxFullError, OutboxBrokenError.
        """
        if max_bytes < MIN_BYTES:
            raise OutboxBrokenError(f"outbox {path}: max_bytes is {max_bytes}, must be at least {MIN_BYTES}")
        mark = read_mark(path)
        old: Path | None = None
        try:
            look_at_header(path, ours=mark > 0)
            db = _open_checked(path, max_bytes, mark)
        except OutboxDamagedError as exc:
            old = move_aside(path)
            log.critical("%s; moved to %s, starting a new one", exc, old)
            db = _open_checked(path, max_bytes, mark)
        try:
            if old is not None:
                _carry_over(old, path, db)
            with _explained(path):
                (last,) = db.execute("SELECT seq FROM sqlite_sequence").fetchone()
            if last >= mark - _MARK_STEP // 2:
                write_mark(path, last + _MARK_STEP)
        except BaseException:
            db.close()
            raise
        return cls(path, device, notify, db, now)

    def put(self, events: Sequence[Event]) -> list[Message]:
        """Commit all events in one transaction (one fsync), then ring. Nothing happens for an empty sequence.

        Either all are durable on return, or an error was raised and none is: OutboxFullError (try again later) or
        OutboxBrokenError (open again). The caller keeps the events until then.
        """
        if not events:
            return []
        with _explained(self._path), _transaction(self._path, self._db):
            if _identity(self._path) != self._file:  # or the messages would go to a file that nobody will ever read
                raise OutboxBrokenError(f"outbox {self._path}: was removed or replaced while in use")
            (last,) = self._db.execute("SELECT seq FROM sqlite_sequence").fetchone()
            messages = stamped(events, self._device, last + 1, self._now())
            self._db.executemany(_INSERT, map(_values, messages))
        self._ring()
        return messages

    def _ring(self) -> None:
        """Wake the uplink if it listens. Losing the ring loses nothing: the uplink polls."""
        if self._notify:
            with contextlib.suppress(OSError):  # nobody there, or its queue is full: it is awake already
                self._bell.sendto(b"\0", self._notify)

    def close(self) -> None:
        self._bell.close()
        self._db.close()


class OutboxReader:
    """The uplink's end. Owner: the thread that opened it. Never creates a file.

    Deletes are not fsynced one by one (synchronous=NORMAL): a power cut can bring a delivered message back, which the
    consumer drops by its id. The writer's commits are as durable as ever.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self._path, self._db = path, db
        self._file = _identity(path)

    @classmethod
    def open(cls, path: Path) -> OutboxReader:
        """Raises OutboxBrokenError: not there (yet), not an outbox, written by another version."""
        if not path.exists():
            raise OutboxBrokenError(f"outbox {path}: not there yet; core makes it when it starts")
        with _explained(path):
            db = _connect(path, mode="rw", wait_s=_LOCK_WAIT_S)
            try:
                _check_version(path, db, ours=False)
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute(f"PRAGMA wal_autocheckpoint = {_READER_CHECKPOINT_PAGES}")
                db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
            except BaseException:
                db.close()
                raise
        return cls(path, db)

    def pending(self, limit: int, after_seq: int = 0, channel: str | None = None) -> list[Row]:
        """At most `limit` waiting messages with a larger seq, oldest first; of one channel, or of all."""
        where, args = ("channel = ? AND ", [channel]) if channel else ("", [])
        sql = f"SELECT seq, id, payload FROM outbox WHERE {where}seq > ? ORDER BY seq LIMIT ?"
        with _explained(self._path):
            return [Row(*row) for row in self._db.execute(sql, [*args, after_seq, limit])]

    def delete(self, seqs: Sequence[int]) -> None:
        """Forget delivered messages; unknown seqs are ignored. After an error none is deleted: try again."""
        if not seqs:
            return
        with _explained(self._path), _transaction(self._path, self._db):
            self._db.executemany("DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in seqs])

    def depth(self) -> int:
        """How many messages wait."""
        with _explained(self._path):
            (count,) = self._db.execute("SELECT count(*) FROM outbox").fetchone()
        return int(count)

    def oldest(self) -> Moment | None:
        """When the longest-waiting message was committed; None when nothing waits."""
        rows = self.pending(1)
        return committed(msgspec.json.decode(rows[0].payload, type=Message)) if rows else None

    def stale(self) -> bool:
        """True when `path` no longer names the file that was opened (core moved it aside): close and open again."""
        return _identity(self._path) != self._file

    def close(self) -> None:
        self._db.close()


@contextlib.contextmanager
def _transaction(path: Path, db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. IMMEDIATE: the write lock is taken before anything is read."""
    with turn(path, _LOCK_WAIT_S):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite rolls back by itself after some errors
                db.execute("ROLLBACK")
            raise


def _values(message: Message) -> tuple[int, str, str, str, bytes]:
    return message.seq, channel_of(message.event), message.id, message.committed_at, msgspec.json.encode(message)


# ------------------------------------------------------------------------------------- opening and recovery


def _open_checked(path: Path, max_bytes: int, mark: int) -> sqlite3.Connection:
    """A writer's connection to a sound outbox, made if there is none; its first seq is above `mark` then."""
    with _explained(path):
        if not path.exists() or path.stat().st_size == 0:
            _create(path, max_bytes, mark)
        db = _connect(path, mode="rw", wait_s=_LOCK_WAIT_S)
        try:
            _check_version(path, db, ours=mark > 0)
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA wal_autocheckpoint = {_WRITER_CHECKPOINT_PAGES}")
            db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
            db.execute(f"PRAGMA max_page_count = {max_bytes // PAGE_BYTES}")
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise OutboxDamagedError(f"outbox {path}: is damaged ({verdict.splitlines()[-1]})")
            with _transaction(path, db):  # a read-only file says so now and not at the first alert
                db.execute("UPDATE sqlite_sequence SET seq = seq")
            _reserve_wal(path)
        except BaseException:
            db.close()
            raise
    return db


def _create(path: Path, max_bytes: int, mark: int) -> None:
    """Build it under another name and rename it, so that nobody ever sees half an outbox."""
    new = path.with_name(path.name + ".new")
    try:
        try:
            _build(new, mark, max_bytes // PAGE_BYTES)
        except sqlite3.OperationalError as exc:
            if not isinstance(_fault(path, exc), OutboxFullError):
                raise
            log.warning("outbox %s: no room to reserve %d bytes now; a full disk can stop it later", path, max_bytes)
            _build(new, mark, 0)
        new.chmod(0o660)  # core and uplink are two users of one group; SQLite gives the WAL the same mode
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(path)
        sync_folder(path.parent)
    finally:
        new.unlink(missing_ok=True)


def _build(path: Path, mark: int, pages: int) -> None:
    """A new database file of `pages` pages, almost all on SQLite's free list: its room is taken from the disk now, so
    that a disk which others have filled stops neither `put` nor `delete`."""
    path.unlink(missing_ok=True)
    with contextlib.closing(_connect(path, mode="rwc", wait_s=0)) as db:
        db.execute("PRAGMA journal_mode = OFF")  # nobody else knows this file, and we begin again after an error
        db.execute("PRAGMA synchronous = OFF")
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.executescript(f"{_SCHEMA} INSERT INTO sqlite_sequence VALUES ('outbox', {mark});")
        (used,) = db.execute("PRAGMA page_count").fetchone()
        db.execute("CREATE TABLE ballast (room BLOB)")
        free = max(0, pages - used - 1)  # 1: the ballast's own root page
        while free > 0:
            piece = min(free, _BALLAST_PAGES)
            db.execute("INSERT INTO ballast VALUES (zeroblob(?))", (piece * _OVERFLOW_BYTES,))
            free -= piece
        db.execute("DROP TABLE ballast")
        db.execute("PRAGMA journal_mode = WAL")


def _check_version(path: Path, db: sqlite3.Connection, *, ours: bool) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION_ID:
        if ours:
            raise OutboxDamagedError(f"outbox {path}: is damaged: its header was overwritten")
        raise OutboxBrokenError(f"outbox {path}: is some other program's database; name another path or move it away")
    if version != _SCHEMA_VERSION:
        raise OutboxBrokenError(
            f"outbox {path}: was written by another version (schema {version}, this one needs {_SCHEMA_VERSION}); "
            "let that version deliver it, or move it away"
        )


def _reserve_wal(path: Path) -> None:
    """Give the WAL its blocks now, all or none: a part would only take what is left of the disk from the rest of us.
    SQLite ignores bytes behind its own frames, and reuses the file from the start."""
    with turn(path, _LOCK_WAIT_S), contextlib.suppress(OSError), wal_path(path).open("rb+") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            os.posix_fallocate(file.fileno(), 0, _WAL_BYTES)
        except OSError:
            os.ftruncate(file.fileno(), size)


def _carry_over(old: Path, path: Path, db: sqlite3.Connection) -> None:
    """Copy what can still be read of the damaged file into the new one, each message under its own id and seq."""
    messages = readable_messages(old, scratch=path.with_name(path.name + ".salvage"))
    try:
        with _transaction(path, db):
            db.executemany(_INSERT, map(_values, messages))
    except sqlite3.Error as exc:
        log.critical("outbox %s: %d readable messages stay in %s: %s", path, len(messages), old, exc)
    else:
        log.critical("outbox %s: carried %d messages over; all that waited is in %s", path, len(messages), old)


def _identity(path: Path) -> tuple[int, int]:
    """Device and inode: which file the name means now."""
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return stat.st_dev, stat.st_ino
