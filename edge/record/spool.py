"""The spool: a folder of pictures with a bounded size, written by a thread of its own. Never in the way of the loop.

    SPOOL/PROCEDURE/NAME.jpg   NAME.mkv   and NAME.json, which says what they show and is written last

What is there is whole: a file gets its name after it was flushed. Over `max_bytes` the oldest go first, a NAME at a
time; by their dates, which never go back, however the clock is set. A full disk or a read-only one is a state: it is
said, what cannot be written is dropped and counted, and the next one is tried.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edge import clock
from edge.durable import sync_folder
from edge.errors import EdgeError
from edge.types import Struct

log = logging.getLogger(__name__)

WAITING_MOST = 32
STOP_WITHIN_S = 10.0
FRESH = ".new"

Write = Callable[[Path], None]
"""Writes one file at the given path. Raises OSError or EdgeError."""


class Job(NamedTuple):
    """All files of one NAME, by suffix, in the order in which they are written."""

    folder: str
    name: str
    files: dict[str, bytes | Write]


class SpoolStatus(Struct, frozen=True, kw_only=True):
    """In the core's status file."""

    saved: int = 0  # NAMEs written since start
    dropped: int = 0  # ... and not: the disk was too slow, too full, or broken
    removed: int = 0  # ... and old ones that made room
    bytes: int = 0  # in the spool now
    fault: str = ""


class Spool:
    """`put` belongs to the core loop's thread, the files to the spool's own."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._jobs: queue.Queue[Job | None] = queue.Queue(WAITING_MOST)
        self._saved = self._dropped = self._removed = self._bytes = 0
        self._counted = False
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

    def status(self) -> SpoolStatus:
        return SpoolStatus(
            saved=self._saved, dropped=self._dropped, removed=self._removed, bytes=self._bytes, fault=self._fault
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
        while (job := self._jobs.get()) is not None:
            try:
                if not self._counted:
                    self._tidy()
                self._write(job)
            except (OSError, EdgeError) as exc:
                self._counted = False  # nobody knows how far it came
                self._dropped += 1
                reason = exc.strerror if isinstance(exc, OSError) else str(exc)
                if not self._fault:
                    log.error("%s: %s; pictures are lost until it works again", self._path, reason)
                self._fault = f"{self._path}: {reason}"
            else:
                self._saved += 1
                self._fault = ""

    def _tidy(self) -> None:
        """Remove what a power cut or a fault left half written, and count the bytes that are there."""
        for left in self._path.glob(f"*/*{FRESH}"):
            with contextlib.suppress(OSError):
                left.unlink()
        files = list(self._path.glob("*/*"))
        self._newest_ns = max([self._newest_ns, *map(_date_ns, files)])
        self._bytes = sum(map(_size, files))
        self._counted = True

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
            self._make_room(sum(_size(fresh) for fresh in written), spare=(job.folder, job.name))
            for fresh in written:
                final = fresh.with_name(fresh.name.removesuffix(FRESH))
                self._bytes += _size(fresh) - _size(final)
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
        groups: dict[tuple[str, str], list[Path]] = {}
        for file in self._path.glob("*/*"):
            if not file.name.endswith(FRESH):
                groups.setdefault((file.parent.name, file.stem), []).append(file)
        groups.pop(spare, None)
        oldest_first = sorted(groups.values(), key=lambda files: min(_date_ns(file) for file in files))
        for files in oldest_first:
            if self._bytes + needed <= self._max_bytes:
                return
            for file in files:
                self._bytes -= _size(file)
                file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                files[0].parent.rmdir()  # when it was the last
            self._removed += 1


def _write_file(path: Path, content: bytes | Write, date_ns: int) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    os.utime(path, ns=(date_ns, date_ns))
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _date_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
