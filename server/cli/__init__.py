"""`endoedge-server`: one module a command, with `add(subparsers)` and `run(options) -> int`."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from pathlib import Path

from edge.errors import EdgeError

COMMANDS = (
    "serve",
    "work",
    "migrate",
    "account",
    "box",
    "authority",
    "audit",
    "erase",
    "eval",
    "check",
    "deliveries",
    "learn",
)
CONFIG_FILE = Path("/etc/endoedge/server.toml")


def main(arguments: list[str] | None = None) -> int:
    """0 done, 1 fault, 2 usage or configuration."""
    if sys.version_info < (3, 11):
        print(f"error: the report server needs Python 3.11 or later; this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(
        prog="endoedge-server", description="The report server: drafts, sign-off, exports."
    )
    where = f"server.toml; default: {CONFIG_FILE} where it is, or else every default"
    parser.add_argument("--config", type=Path, metavar="FILE", help=where)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"server.cli.{name}").add(commands)
    options = parser.parse_args(arguments)
    if options.config is None and CONFIG_FILE.is_file():
        options.config = CONFIG_FILE
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        return int(options.run(options))
    except EdgeError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return 0
