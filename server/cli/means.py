"""What a command works with: configuration, database, key frames."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
from collections.abc import Iterator
from typing import NamedTuple

from server.config import Config, load
from server.errors import ServerError
from server.keep import Keep, opened_keep
from server.store.database import Database, open_database
from server.store.migrate import behind, migrate


class Means(NamedTuple):
    config: Config
    database: Database
    keep: Keep


def operator() -> str:
    """Who types the command, for the audit."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name
        return f"cli:{os.getuid()}"


@contextlib.contextmanager
def opened(options: argparse.Namespace, *, tables: bool = True) -> Iterator[Means]:
    """`tables`: they have to be there as this program knows them; an SQLite database is made where there is none.
    Raises ConfigError, ServerError."""
    config = load(options.config)
    database = open_database(config.database, config.folder)
    try:
        if tables and database.is_sqlite:
            migrate(database)
        elif tables and (reason := behind(database)):
            raise ServerError(reason)
        yield Means(config, database, opened_keep(config))
    finally:
        database.close()
