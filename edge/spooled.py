"""A procedure's folder in the spool: what the core writes there, and what the uplink does.

    SPOOL/PROCEDURE/record.json     `edge.procedure.Record`; while it runs replaced again and again     core
                    NAME.jpg, ...   key frames and films (edge/record/spool.py)                         core
                    record.N.sent   a report server has revision N, and all its key frames; empty       uplink
                    dropped.json    all else is gone, to make room, before a server had it              core

The core removes, the uplink only adds marks: each can die at any moment without the other.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from edge.durable import sync_folder
from edge.procedure import VERSION, Record
from edge.types import Struct

RECORD, DROPPED, SENT = "record.json", "dropped.json", ".sent"
RECORD_MOST = 4 << 20  # bytes; a server takes no larger one


class Dropped(Struct, frozen=True, kw_only=True):
    """`dropped.json`: stays until the event that says so is in the outbox."""

    procedure: str
    reason: str


_decode = msgspec.json.Decoder(Record).decode  # here: two threads may not be the first to decode a class (msgspec 0.22)


def read_record(folder: Path) -> Record | str:
    """Or why there is none that can be read, in a line."""
    path = folder / RECORD
    try:
        with path.open("rb") as file:
            content = file.read(RECORD_MOST + 1)
    except OSError as exc:
        return f"{RECORD}: cannot be read: {exc.strerror}"
    if len(content) > RECORD_MOST:
        return f"{RECORD}: is larger than {RECORD_MOST >> 20} MiB"
    try:
        record = _decode(content)
    except msgspec.DecodeError as exc:
        return f"{RECORD}: is not a record that this version knows: {exc}"
    if record.version != VERSION:
        return f"{RECORD}: is of version {record.version}, expected {VERSION}"
    return record if record.procedure == folder.name else f"{RECORD}: is of another procedure, {record.procedure}"


def is_sent(folder: Path) -> bool:
    """Whether a report server has it. A record that is over has one revision only."""
    return any(folder.glob(f"record.*{SENT}"))


def mark_sent(folder: Path, revision: int) -> None:
    """On the disk when this returns. Raises OSError."""
    (folder / f"record.{revision}{SENT}").touch()
    sync_folder(folder)


def read_dropped(folder: Path) -> Dropped | None:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((folder / DROPPED).read_bytes(), type=Dropped)
    return None
