"""What the list of procedures shows, beside the documents that it is read from"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0101"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("records", schema=None) as batch_op:
        batch_op.add_column(sa.Column("findings", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("report", sa.String(length=16), server_default="", nullable=False))
        batch_op.add_column(sa.Column("number", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("touched_at", sa.String(length=27), server_default="", nullable=False))
        batch_op.drop_index("records_received")
        batch_op.create_index("records_received", ["received_at", "device", "procedure"], unique=False)
        batch_op.create_index("records_reported", ["report", "received_at", "device", "procedure"], unique=False)
        batch_op.create_index("records_touched", ["touched_at"], unique=False)
    with op.batch_alter_table("joined", schema=None) as batch_op:
        batch_op.add_column(sa.Column("words", sa.Text(), server_default="", nullable=False))
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    """Of what was there before."""
    names = ("device", "procedure", "revision")
    records = sa.table("records", *map(sa.column, (*names, "body", "findings", "report", "number", "touched_at")))
    reports = sa.table("reports", *map(sa.column, (*names, "number", "state", "at")))
    newest = sa.select(*(reports.c[name] for name in names), sa.func.max(reports.c.number).label("number"))
    for row in connection.execute(newest.group_by(*(reports.c[name] for name in names))).mappings().all():
        wanted = sa.and_(*(reports.c[name] == row[name] for name in (*names, "number")))
        state = connection.execute(sa.select(reports.c.state, reports.c.at).where(wanted)).one()
        values = {"report": state.state, "number": row["number"], "touched_at": state.at}
        connection.execute(_of(records, row).values(values))
    bodies = sa.select(*(records.c[name] for name in (*names, "body")))
    for row in connection.execute(bodies).mappings().all():
        found = msgspec.json.decode(row["body"]).get("findings", [])
        connection.execute(_of(records, row).values(findings=len(found)))
    joined = sa.table("joined", *map(sa.column, ("device", "procedure", "number", "body", "words")))
    for one in connection.execute(sa.select(joined)).mappings().all():
        told = msgspec.json.decode(one["body"])
        words = " ".join(told.get(name, "") for name in ("family", "given", "id", "accession")).casefold()
        at = sa.and_(*(joined.c[name] == one[name] for name in ("device", "procedure", "number")))
        connection.execute(sa.update(joined).where(at).values(words=words))


def _of(records: sa.TableClause, row: Mapping[Any, Any]) -> sa.Update:
    return sa.update(records).where(*(records.c[name] == row[name] for name in ("device", "procedure", "revision")))
