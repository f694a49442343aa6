"""The tables, made or brought up to date (Alembic). A database that is newer than this program is left alone."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util.exc import CommandError

from server.errors import ServerError
from server.store.database import Database, hold

FOLDER = Path(__file__).parent / "migrations"


def migrate(database: Database) -> None:
    """To the newest form. Harmless to run again, and beside others. Raises ServerError."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    try:
        with database.write() as connection:
            hold(connection, "migrations")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (CommandError, ResolutionError) as exc:
        raise ServerError(f"database {database.name}: {exc}; it is newer than this program, or not ours") from exc


def behind(database: Database) -> str:
    """Why this database cannot be used as it is; "" it can."""
    newest = ScriptDirectory(str(FOLDER)).get_current_head()
    with database.read() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found == newest:
        return ""
    return f"database {database.name}: form {found or 'none'}, expected {newest}: `endoedge-server migrate`"
