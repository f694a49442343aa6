"""Records without a report, in a table that stays small"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_KEY = ("device", "procedure", "revision")


def upgrade() -> None:
    op.create_table(
        "undrafted",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("procedure", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(_KEY, [f"records.{name}" for name in _KEY], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(*_KEY),
    )
    op.create_index("undrafted_received", "undrafted", ["received_at", *_KEY])
    same = " AND ".join(f"t.{name} = r.{name}" for name in _KEY)
    op.execute(
        "INSERT INTO undrafted SELECT r.device, r.procedure, r.revision, r.received_at FROM records AS r "
        f"WHERE NOT EXISTS (SELECT 1 FROM reports AS t WHERE {same})"
    )
