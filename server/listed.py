"""Keeps `listed`, the row by which `server.listing` shows a procedure; in the transaction that changes what it shows.
Only `server.reports` calls this.
"""

from __future__ import annotations

from sqlalchemy import Connection, update
from sqlalchemy.dialects import postgresql, sqlite

from edge.procedure import Record
from server.store.tables import listed


def keep(connection: Connection, record: Record, at: str) -> None:
    """A record came. A newer revision takes the place of an older one, not the other way round."""
    shown = {
        "revision": record.revision,
        "state": record.state,
        "pipeline": record.heading.made_by.pipeline,
        "started_at": record.heading.started_at,
        "received_at": at,
        "findings": len(record.findings),
        "report": "",
        "number": 0,
        "touched_at": at,
    }
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(listed)
    row = insert.values(device=record.heading.device, procedure=record.procedure, **shown)
    connection.execute(
        row.on_conflict_do_update(
            index_elements=["device", "procedure"], set_=shown, where=listed.c.revision < record.revision
        )
    )


def touch(connection: Connection, device: str, procedure: str, revision: int, state: str, number: int, at: str) -> None:
    """A report has a new version."""
    of = (listed.c.device == device, listed.c.procedure == procedure, listed.c.revision == revision)
    connection.execute(update(listed).where(*of).values(report=state, number=number, touched_at=at))
