"""Which procedures of a box show which of its key frames, and which files are to go. Who erases: `server.erasure`."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from edge.procedure import Record
from server.clock import later, now
from server.keep import Keep
from server.store.database import Database, hold
from server.store.tables import discards, frames, pictures

_AT_ONCE = 200


def keep(connection: Connection, record: Record) -> None:
    """With the record."""
    of = {"device": record.heading.device, "procedure": record.procedure}
    rows = [{**of, "sha256": sha256} for sha256 in sorted({frame.sha256 for frame in record.key_frames()})]
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(pictures)
    if rows:
        connection.execute(insert.on_conflict_do_nothing(), rows)


def let_go(connection: Connection, device: str, procedure: str) -> int:
    """Of a procedure: how many of its key frames no other procedure of that box shows. Their files go with `clear`."""
    mine = (pictures.c.device == device) & (pictures.c.procedure == procedure)
    wanted = list(connection.execute(select(pictures.c.sha256).where(mine)).scalars())
    connection.execute(pictures.delete().where(mine))
    return sum(_drop(connection, device, sha256) for sha256 in wanted)


def let_go_unused(connection: Connection, older_than_s: float) -> int:
    """Key frames whose record never came: how many."""
    shown = select(pictures.c.sha256).where(pictures.c.device == frames.c.device, pictures.c.sha256 == frames.c.sha256)
    old = (frames.c.received_at < later(-older_than_s)) & ~shown.exists()
    rows = connection.execute(select(frames.c.device, frames.c.sha256).where(old).limit(_AT_ONCE)).all()
    return sum(_drop(connection, row.device, row.sha256) for row in rows)


def _drop(connection: Connection, device: str, sha256: str) -> bool:
    still = select(pictures.c.procedure).where(pictures.c.device == device, pictures.c.sha256 == sha256).limit(1)
    if connection.execute(still).scalar() is not None:
        return False
    connection.execute(frames.delete().where(frames.c.device == device, frames.c.sha256 == sha256))
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(discards)
    connection.execute(insert.values(sha256=sha256, at=now()).on_conflict_do_nothing())
    return True


def taking(connection: Connection, sha256: str) -> None:
    """Before the row of a key frame that has just come: from here to the commit its file does not go."""
    hold(connection, f"key frame {sha256}")


def clear(database: Database, keep: Keep) -> int:
    """After something was let go: how many files went. One that another box has, too, stays. Raises ServerError; what
    is left is for next time."""
    database.forget()
    gone = 0
    while True:
        with database.read() as connection:
            wanted = list(connection.execute(select(discards.c.sha256).limit(_AT_ONCE)).scalars())
        if not wanted:
            return gone
        for sha256 in wanted:
            with database.write() as connection:
                hold(connection, f"key frame {sha256}")
                if (
                    connection.execute(select(frames.c.device).where(frames.c.sha256 == sha256).limit(1)).scalar()
                    is None
                ):
                    keep.discard(sha256)
                    gone += 1
                connection.execute(discards.delete().where(discards.c.sha256 == sha256))
