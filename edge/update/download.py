"""A bundle, from where it lies to the disk: resumed after any cut, and whole, or not there.

    FOLDER/SHA256.part   ->   FOLDER/SHA256.raucb

A part's length is its progress: it is synced at each multiple of STEP before more is written, and never becomes less,
so that after a power cut all but what follows the last multiple is certain, and no second file has to say how much.
(posix_fallocate would make that length the whole one from the start; room is looked for before, and the policy keeps
more of it free.) What is there is hashed again when it goes on, and the rest while it comes: the whole is never read a
second time.

No If-Range: the digest says which file is meant, and mirrors of one file differ in their ETags. Where two files were
joined nevertheless, the digest says so, and all of it is fetched anew the next time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge.durable import sync_folder
from edge.errors import UpdateError
from edge.update.fetch import Source, Stream
from edge.update.offer import Bundle
from edge.update.web import RangeRefusedError

STEP = 512 << 10  # bytes; what a cut costs, with what the sockets hold, stays below 1 MB
PIECE = 64 << 10
_HASHED = 1 << 20
_OURS = re.compile(r"[0-9a-f]{64}\.(part|raucb)")
_FULL = (errno.ENOSPC, errno.EDQUOT)
Tell = Callable[[int, int], None]
"""Bytes that are there, and all."""
Stop = Callable[[], bool]


def fetch_bundle(folder: Path, bundle: Bundle, source: Source, name: str, tell: Tell, stop: Stop) -> Path:
    """The whole bundle, its digest verified. Other bundles and parts in the folder are removed first. Raises
    UpdateError; what came so far is kept, except where it is not what was signed for (`bundle`)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_others(folder, bundle.sha256)
        whole = whole_bundle(folder, bundle)
        if _is(whole, bundle):
            return whole
        with _Part(folder / f"{bundle.sha256}.part", bundle) as part:
            part.resume(stop)
            tell(part.have, bundle.size)
            if part.have < bundle.size:
                _room(folder, bundle.size - part.have)
                _fill(part, source, name, tell, stop)
            part.finish(whole)
        return whole
    except OSError as exc:
        words = f"{folder}: {exc.strerror}"
        if exc.errno in _FULL:
            words = f"{folder}: the disk is full; what came is kept: make room, it goes on from there"
        raise UpdateError(words, "disk") from exc


def whole_bundle(folder: Path, bundle: Bundle) -> Path:
    """Where it is when it is whole."""
    return folder / f"{bundle.sha256}.raucb"


def remove_all(folder: Path) -> None:
    """Raises OSError."""
    _remove_others(folder, "none")


class _Part:
    def __init__(self, path: Path, bundle: Bundle) -> None:
        self.have, self.size = 0, bundle.size
        self._path, self._sha256 = path, bundle.sha256
        self._hash = hashlib.sha256()

    def __enter__(self) -> _Part:
        number = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        self._file = os.fdopen(number, "r+b", buffering=0)
        sync_folder(self._path.parent)
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def resume(self, stop: Stop) -> None:
        """From what was synced; or from all of it, where it is whole and right."""
        length = os.fstat(self._file.fileno()).st_size
        certain = max(0, length - 1) // STEP * STEP if length <= self.size else 0
        self._read(certain, stop)
        if length == self.size:
            before = self._hash.copy()
            self._read(length - certain, stop)
            if self._hash.hexdigest() == self._sha256:
                return
            self._hash, self.have = before, certain
        if length > self.size:
            self._file.truncate(0)
        self._file.seek(certain)  # what follows is written over, not cut off: the length would say that less is certain

    def _read(self, count: int, stop: Stop) -> None:
        while count > 0 and (piece := self._file.read(min(count, _HASHED))):
            _stopped(stop)
            self._hash.update(piece)
            self.have += len(piece)
            count -= len(piece)

    @property
    def wants(self) -> int:
        """Bytes up to the next sync, or the end."""
        return min(PIECE, STEP - self.have % STEP, self.size - self.have)

    def add(self, piece: bytes) -> bool:
        """Whether it was synced."""
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._hash.update(piece)
        self.have += len(piece)
        if self.have % STEP:
            return False
        os.fdatasync(self._file.fileno())
        return True

    def anew(self) -> None:
        self._file.truncate(0)
        self._file.seek(0)
        self._hash, self.have = hashlib.sha256(), 0

    def finish(self, whole: Path) -> None:
        """Raises UpdateError: it is not what was signed for, and is gone."""
        if (found := self._hash.hexdigest()) != self._sha256:
            self._path.unlink()
            sync_folder(self._path.parent)
            words = f"the bundle that came is another one than was signed for (sha256 {found[:16]}…, expected "
            raise UpdateError(f"{words}{self._sha256[:16]}…); it was removed, and is fetched anew", "bundle")
        os.fsync(self._file.fileno())
        self._path.rename(whole)
        sync_folder(whole.parent)


def _fill(part: _Part, source: Source, name: str, tell: Tell, stop: Stop) -> None:
    """Until all bytes are there."""
    _stopped(stop)
    try:
        stream = source.open(name, part.have)
    except RangeRefusedError:
        if not part.have:
            raise
        part.anew()
        stream = source.open(name)
    with contextlib.closing(stream):
        _expect(stream, part.size, f"{source.base}/{name}".rstrip("/"))
        for piece in _pieces(stream, part, stop):
            if part.add(piece) or part.have == part.size:
                tell(part.have, part.size)
    if part.have < part.size:
        words = f"{source.base}: it ended after {part.have} of {part.size} bytes; it is tried again"
        raise UpdateError(words, "unreachable")


def _pieces(stream: Stream, part: _Part, stop: Stop) -> Iterator[bytes]:
    """A server that knows no ranges sends what is there once more: it is passed over."""
    over = part.have - stream.begins
    while part.have < part.size:
        _stopped(stop)
        piece = stream.read(min(over, PIECE) or part.wants)
        if not piece:
            return
        if over:
            over -= len(piece)
        else:
            yield piece


def _expect(stream: Stream, size: int, url: str) -> None:
    if stream.whole not in (None, size):
        words = f"{url}: it has {stream.whole} bytes, and {size} were signed for; it is tried again"
        raise UpdateError(words, "bundle")


def _stopped(stop: Stop) -> None:
    if stop():
        raise UpdateError("the download was stopped; what came is kept", "stopped")


def _room(folder: Path, needed: int) -> None:
    at = os.statvfs(folder)
    if (free := at.f_bavail * at.f_frsize) < needed:
        words = f"{folder}: {free >> 20} MiB are free, and {(needed - 1 >> 20) + 1} are needed: make room"
        raise UpdateError(words, "disk")


def _is(whole: Path, bundle: Bundle) -> bool:
    """Whether it is there already. A damaged one is removed."""
    try:
        with whole.open("rb") as file:
            found = hashlib.sha256()
            while piece := file.read(_HASHED):
                found.update(piece)
    except FileNotFoundError:
        return False
    if found.hexdigest() == bundle.sha256:
        return True
    whole.unlink()
    return False


def _remove_others(folder: Path, sha256: str) -> None:
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and not path.name.startswith(sha256):
            path.unlink()
