"""Room in the spool: what goes first. Owner: the spool's thread.

| rank | what | goes |
|---|---|---|
| 0 | procedures that the report server has | whole |
| 1 | films, and pictures of no recorded procedure | a NAME at a time |
| 2 | procedures that are over and that no server has | whole; where one is owed, `dropped.json` stays and says so |

The oldest of a rank first. A procedure that runs keeps its record and its pictures.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge.durable import write_atomically
from edge.spooled import DROPPED, RECORD, SENT, Dropped, is_sent, read_record

FRESH = ".new"  # what is being written
FILM = ".mkv"


class Piece(NamedTuple):
    """What goes at once. `dated_ns`: of its file's date, by which the oldest is found."""

    rank: int
    dated_ns: int
    folder: Path
    files: tuple[Path, ...]


def pieces(spool: Path, spare: tuple[str, str]) -> list[Piece]:
    """All that may go, first first. `spare`: folder and NAME of what is about to be written."""
    found = [piece for folder in spool.iterdir() if folder.is_dir() for piece in _of_folder(folder)]
    kept = [one for one in found if one.rank != 1 or (one.folder.name, one.files[0].stem) != spare]
    return sorted(one for one in kept if one.rank == 1 or one.folder.name != spare[0])


def sent(spool: Path) -> list[Piece]:
    """Procedures that a server has, oldest first."""
    return [piece for piece in pieces(spool, ("", "")) if piece.rank == 0]


def remove(piece: Piece, owed: str = "") -> Dropped | None:
    """Its files, and its folder with the last. `owed`: a report server should have had it and this is why it has not;
    what is left then says so, before anything is gone. Raises OSError, most often before."""
    dropped = Dropped(procedure=piece.folder.name, reason=owed) if owed and piece.rank == 2 else None
    if dropped is not None:
        write_atomically(piece.folder / DROPPED, msgspec.json.encode(dropped))
    for file in sorted(piece.files, key=_importance):
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        piece.folder.rmdir()
    return dropped


def _importance(file: Path) -> int:
    """What the rest is read by goes last: a removal may end half way."""
    return 2 if file.suffix == SENT else file.name == RECORD


def _of_folder(folder: Path) -> Iterator[Piece]:
    try:
        files = [file for file in folder.iterdir() if not file.name.endswith(FRESH) and not file.name.startswith(".")]
    except PermissionError:  # somebody else's: a file system's own "lost+found"
        return
    if not files or folder.joinpath(DROPPED) in files:
        return
    record = folder / RECORD
    if is_sent(folder):
        yield Piece(0, _date_of(files), folder, tuple(sorted(files)))
        return
    loose = [file for file in files if record not in files or file.suffix == FILM]
    for name in {file.stem for file in loose}:
        group = tuple(sorted(file for file in loose if file.stem == name))
        yield Piece(1, _date_of(group), folder, group)
    if record in files and not _runs(folder, date_ns(record)):
        yield Piece(2, date_ns(record), folder, tuple(sorted(files)))


@functools.lru_cache(maxsize=1024)
def _runs(folder: Path, dated_ns: int) -> bool:
    """`dated_ns`: a record that was written anew is read anew."""
    del dated_ns
    record = read_record(folder)
    return not isinstance(record, str) and record.state == "running"


def _date_of(files: Sequence[Path]) -> int:
    return min(date_ns(file) for file in files)


def size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def date_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
