"""What is only ever added to, and the tombstones of what the law had erased"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ERASABLE = ("records", "reports", "joined", "questions")  # a tombstone first, then their rows may go
_NEVER = ("audit", "erased")

_POSTGRESQL_REFUSE = """
CREATE FUNCTION endoedge_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is only added to';
END $$
"""
_POSTGRESQL_ERASE = """
CREATE FUNCTION endoedge_erase() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM erased WHERE erased.device = OLD.device AND erased."procedure" = OLD."procedure") THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is only added to';
END $$
"""
_POSTGRESQL_GONE = """
CREATE FUNCTION endoedge_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM erased WHERE erased.device = NEW.device AND erased."procedure" = NEW."procedure") THEN
    RAISE EXCEPTION USING MESSAGE = 'this procedure was erased';
  END IF;
  RETURN NEW;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "erased",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("procedure", sa.String(length=64), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("reference", sa.String(length=64), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("device", "procedure"),
    )
    op.add_column("boxes", sa.Column("renewed", sa.String(length=64), nullable=True))
    op.create_index("boxes_renewed", "boxes", ["renewed"], unique=True)
    if op.get_bind().dialect.name == "postgresql":
        _postgresql()
    else:
        _sqlite()


def _postgresql() -> None:
    for function in (_POSTGRESQL_REFUSE, _POSTGRESQL_ERASE, _POSTGRESQL_GONE):
        op.execute(function)

    def trigger(table: str, when: str, function: str, each: str = "ROW") -> None:
        name = f"{table}_{when.split()[0].lower()}"
        op.execute(f"CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()")

    for table in (*_NEVER, *_ERASABLE):
        trigger(table, "UPDATE", "endoedge_refuse")
        trigger(table, "TRUNCATE", "endoedge_refuse", "STATEMENT")
    for table in _NEVER:
        trigger(table, "DELETE", "endoedge_refuse")
    for table in _ERASABLE:
        trigger(table, "DELETE", "endoedge_erase")
        trigger(table, "INSERT", "endoedge_gone")


def _sqlite() -> None:
    def trigger(table: str, when: str, condition: str, message: str) -> None:
        op.execute(
            f"CREATE TRIGGER {table}_{when.lower()} BEFORE {when} ON {table} {condition} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )

    def found(row: str) -> str:
        return f'EXISTS (SELECT 1 FROM erased WHERE device = {row}.device AND "procedure" = {row}."procedure")'

    for table in (*_NEVER, *_ERASABLE):
        trigger(table, "UPDATE", "", f"{table} is only added to")
    for table in _NEVER:
        trigger(table, "DELETE", "", f"{table} is only added to")
    for table in _ERASABLE:
        trigger(table, "DELETE", f"WHEN NOT {found('OLD')}", f"{table} is only added to")
        trigger(table, "INSERT", f"WHEN {found('NEW')}", "this procedure was erased")
    # INSERT OR REPLACE deletes without a trigger
    again = "WHEN EXISTS (SELECT 1 FROM audit WHERE number = NEW.number)"
    trigger("audit", "INSERT", again, "audit is only added to")
