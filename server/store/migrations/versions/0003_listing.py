"""What the list of procedures shows, beside the documents that it is read from"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KEY = ("device", "procedure", "revision")


def upgrade() -> None:
    op.create_table(
        "listed",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("procedure", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("pipeline", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.String(length=64), nullable=False),
        sa.Column("received_at", sa.String(length=27), nullable=False),
        sa.Column("findings", sa.Integer(), nullable=False),
        sa.Column("report", sa.String(length=16), server_default="", nullable=False),
        sa.Column("number", sa.Integer(), server_default="0", nullable=False),
        sa.Column("touched_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(_KEY, [f"records.{name}" for name in _KEY], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device", "procedure"),
    )
    op.create_index("listed_received", "listed", ["received_at", "device", "procedure"])
    op.create_index("listed_report", "listed", ["report", "received_at", "device", "procedure"])
    op.create_index("listed_touched", "listed", ["touched_at"])
    op.add_column("joined", sa.Column("words", sa.Text(), server_default="", nullable=False))
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    """Of what was there before. `joined` is only added to: who was joined before is not found by name."""
    told = ("state", "pipeline", "started_at", "received_at")
    records = sa.table("records", *map(sa.column, (*_KEY, *told, "body")))
    reports = sa.table("reports", *map(sa.column, (*_KEY, "number", "state", "at")))
    listed = sa.table("listed", *map(sa.column, (*_KEY, *told, "findings", "report", "number", "touched_at")))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in connection.execute(sa.select(records).order_by(records.c.revision)).mappings():
        shown = {name: row[name] for name in (*_KEY, *told)}
        found = len(msgspec.json.decode(row["body"]).get("findings", []))
        new = {**shown, "findings": found, "report": "", "number": 0, "touched_at": row["received_at"]}
        rows[row["device"], row["procedure"]] = new
    columns = [reports.c[name] for name in (*_KEY, "number", "state", "at")]
    for one in connection.execute(sa.select(*columns).order_by(reports.c.number)).mappings():
        kept = rows.get((one["device"], one["procedure"]))
        if kept is not None and kept["revision"] == one["revision"]:
            kept.update(report=one["state"], number=one["number"], touched_at=one["at"])
    if rows:
        connection.execute(sa.insert(listed), list(rows.values()))
