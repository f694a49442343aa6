"""`endoedge-server migrate`."""

from __future__ import annotations

import argparse
from typing import Any

from server.cli.means import opened
from server.store.migrate import migrate


def add(commands: Any) -> None:
    parser = commands.add_parser("migrate", help="make the database's tables, or bring them up to date")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with opened(options, tables=False) as means:
        migrate(means.database)
        print(f"{means.database.name}: up to date")
    return 0
