"""The spool as the uplink sees it: which procedures are over and not sent. Owner: the thread of `reports.py`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from edge import spooled
from edge.procedure import Record


class _Seen(NamedTuple):
    """A record as it was when its file had this date."""

    dated_ns: int
    record: Record | str


class Shelf:
    """Reads each record once, and again when it was replaced."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._seen: dict[str, _Seen] = {}
        self._sent: set[str] = set()  # and perhaps not marked: the disk may be full

    def due(self) -> list[tuple[str, Record | str]]:
        """Procedures that are over and that the server has not got, oldest first; a text says why one cannot be read.
        Raises OSError: the spool is there and cannot be read."""
        if not self._spool.exists():
            return []
        seen = {folder.name: one for folder in self._spool.iterdir() if (one := self._look(folder)) is not None}
        self._seen = seen
        self._sent &= seen.keys()
        over = [
            (one.dated_ns, name, one.record)
            for name, one in seen.items()
            if name not in self._sent and (isinstance(one.record, str) or one.record.state != "running")
        ]
        return [(name, record) for _, name, record in sorted(over, key=lambda one: one[:2])]

    def content(self, procedure: str) -> bytes:
        """Its record's own bytes. Raises OSError."""
        return (self._spool / procedure / spooled.RECORD).read_bytes()

    def going(self, procedure: str) -> bool:
        """The core makes room and has said so, which it does before it removes anything."""
        return (self._spool / procedure / spooled.DROPPED).exists()

    def frames(self, procedure: str) -> dict[str, Path]:
        """Its pictures, by sha256. Raises OSError."""
        pictures = sorted((self._spool / procedure).glob("*.jpg"))
        return {hashlib.sha256(picture.read_bytes()).hexdigest(): picture for picture in pictures}

    def sent(self, procedure: str, revision: int) -> None:
        """Not offered again, whatever becomes of its mark. Raises OSError."""
        self._sent.add(procedure)
        spooled.mark_sent(self._spool / procedure, revision)

    def _look(self, folder: Path) -> _Seen | None:
        try:
            dated_ns = (folder / spooled.RECORD).stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # somebody else's, or not written yet
            return None
        if spooled.is_sent(folder) or (folder / spooled.DROPPED).exists():
            return None
        before = self._seen.get(folder.name)
        return before if before and before.dated_ns == dated_ns else _Seen(dated_ns, spooled.read_record(folder))
