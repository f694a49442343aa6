"""Which procedures show a key frame, and files that are to go"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "pictures",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("procedure", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("device", "sha256", "procedure"),
    )
    op.create_index("pictures_of", "pictures", ["device", "procedure"])
    op.create_table(
        "discards",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    records = sa.table("records", *map(sa.column, ("device", "procedure", "revision", "body")))
    pictures = sa.table("pictures", *map(sa.column, ("device", "sha256", "procedure")))
    keys = connection.execute(sa.select(records.c.device, records.c.procedure, records.c.revision)).all()
    known: set[tuple[str, str, str]] = set()
    for key in keys:
        body = connection.execute(
            sa.select(records.c.body).where(*(records.c[name] == value for name, value in key._mapping.items()))
        ).scalar_one()
        found: dict[str, Any] = msgspec.json.decode(body)
        frames = [fact.get("key_frame") for part in ("landmarks", "findings") for fact in found.get(part, [])]
        rows = {(key.device, frame["sha256"], key.procedure) for frame in frames if frame} - known
        known |= rows
        for device, sha256, procedure in rows:
            connection.execute(sa.insert(pictures), {"device": device, "sha256": sha256, "procedure": procedure})
