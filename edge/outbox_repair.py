"""The outbox's files when something is wrong with them: what is damaged is moved aside and read, never deleted.

Only `edge/outbox.py` uses this, in the writer's thread, while the outbox is being opened.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from edge.durable import sync_folder
from edge.errors import OutboxBrokenError, OutboxFullError
from edge.messages import Message

log = logging.getLogger(__name__)

_HEADER = b"SQLite format 3\0"
_decode = msgspec.json.Decoder(Message).decode


class OutboxDamagedError(OutboxBrokenError):
    """It was an outbox and cannot be read any more: `Outbox.open` moves it aside."""


def look_at_header(path: Path, *, ours: bool) -> None:
    """Look before SQLite does: it deletes the WAL of a missing or empty database, and committed messages with it.

    `ours`: a mark lies beside it, so whatever it looks like now, it was an outbox once.
    Raises OutboxDamagedError (move it aside) or OutboxBrokenError (not an outbox: leave it alone).
    """
    try:
        with path.open("rb") as file:
            header = file.read(len(_HEADER))
    except FileNotFoundError:
        header = b""
    except OSError as exc:
        raise OutboxBrokenError(f"outbox {path}: cannot be read: {exc.strerror}") from exc
    if header == _HEADER:
        return
    if header and not ours:
        raise OutboxBrokenError(f"outbox {path}: is some other file, not an outbox; name another path or move it away")
    if header or wal_path(path).exists():
        raise OutboxDamagedError(f"outbox {path}: is damaged: its header is gone")
    if ours:
        log.critical("outbox %s: it was here before and is gone or empty now; starting a new one", path)


def move_aside(path: Path) -> Path:
    """Rename the database and its WAL; nothing is deleted. Returns the new name."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    try:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        sync_folder(path.parent)
    except OSError as exc:
        raise OutboxBrokenError(f"outbox {path}: is damaged and cannot be moved aside: {exc.strerror}") from exc
    return aside


def readable_messages(damaged: Path, scratch: Path) -> list[Message]:
    """Every message that can still be read, one per seq.

    SQLite reads a copy (made at `scratch`, removed again), because opening a file with a WAL writes to it, and the
    damaged one is evidence.
    """
    found: dict[int, Message] = {}
    try:
        for source, target in ((damaged, scratch), (wal_path(damaged), wal_path(scratch))):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(source, target)
        for payload in _readable_payloads(scratch):
            with contextlib.suppress(msgspec.DecodeError):
                message = _decode(payload)
                found[message.seq] = message
    except OSError as exc:
        log.critical("outbox %s: cannot be copied to be read: %s", damaged, exc)
    finally:
        for name in (scratch, wal_path(scratch), scratch.with_name(scratch.name + "-shm")):
            name.unlink(missing_ok=True)
    return [found[seq] for seq in sorted(found)]


def _readable_payloads(path: Path) -> Iterator[bytes]:
    """From both ends, each up to the first page that SQLite cannot read; the same ones twice where all is readable."""
    for order in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as db:
            yield from (row[0] for row in db.execute(f"SELECT payload FROM outbox NOT INDEXED ORDER BY seq {order}"))


def read_mark(path: Path) -> int:
    """A number that no seq of this outbox has passed; 0 when there never was one."""
    try:
        return int(_mark_path(path).read_text())
    except (FileNotFoundError, ValueError):
        return 0
    except OSError as exc:
        raise OutboxBrokenError(f"outbox {_mark_path(path)}: cannot be read: {exc.strerror}") from exc


def write_mark(path: Path, mark: int) -> None:
    """Durably replace the mark: write, fsync, rename, fsync the folder."""
    new = path.with_name(path.name + ".mark.new")
    try:
        with new.open("w") as file:
            file.write(f"{mark}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(_mark_path(path))
        sync_folder(path.parent)
    except OSError as exc:
        kind = OutboxFullError if exc.errno == errno.ENOSPC else OutboxBrokenError
        raise kind(f"outbox {_mark_path(path)}: cannot be written: {exc.strerror}") from exc


def wal_path(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _mark_path(path: Path) -> Path:
    return path.with_name(path.name + ".mark")
