"""Whose turn it is to write to the outbox. Only `edge/outbox.py` uses this."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from edge.errors import OutboxBrokenError, OutboxFullError


@contextlib.contextmanager
def turn(outbox: Path, wait_s: float) -> Iterator[None]:
    """One process at a time, from BEGIN until after the checkpoint that COMMIT may set off.

    SQLite 3.7.0 to 3.51.2 can lose a committed transaction when two connections write or checkpoint at the same instant
    (sqlite.org/wal.html, "the WAL-reset bug"), and distributions ship those versions. SQLite's own locks do not cover
    that. Ours, on `NAME.lock`, ends with its process, however that ends. Raises OutboxFullError after `wait_s`.
    """
    path = outbox.with_name(outbox.name + ".lock")
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as exc:
        kind = OutboxFullError if exc.errno == errno.ENOSPC else OutboxBrokenError
        raise kind(f"outbox {path}: cannot be opened: {exc.strerror}") from exc
    until_s = time.monotonic() + wait_s
    try:
        while not _taken(lock):
            if time.monotonic() > until_s:
                raise OutboxFullError(f"outbox {outbox}: another process kept it locked for {wait_s:.0f} s")
            time.sleep(0.0005)
        yield
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
