"""Under which patient a report goes out"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("patient", sa.Integer(), server_default="0", nullable=False))
