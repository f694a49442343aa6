"""`endoedge-server deliveries`: what did not arrive yet, and what a person has to see to."""

from __future__ import annotations

import argparse
from typing import Any

from sqlalchemy import Connection

from edge.errors import UsageError
from server import audit, deliveries
from server.cli.means import opened, operator
from server.config import Config
from server.deliveries import Delivery
from server.reports import Key


def add(commands: Any) -> None:
    parser = commands.add_parser("deliveries", help="what did not arrive in the hospital's systems yet, and why")
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--retry", action="store_true", help="try again what was refused, now that the cause is mended")
    where = "of this report, what went out under a wrong patient was taken back by hand: ask no more"
    doing.add_argument("--withdrawn", metavar="DEVICE/PROCEDURE/REVISION", help=where)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """1: there is something to see to."""
    withdrawn = _key(options.withdrawn) if options.withdrawn else None
    with opened(options) as means:
        if not options.retry and withdrawn is None:
            with means.database.read() as connection:
                return _show(connection, means.config)
        with means.database.write() as connection:
            return _retry(connection) if withdrawn is None else _withdrawn(connection, means.config, withdrawn)


def _retry(connection: Connection) -> int:
    found = deliveries.retry(connection)
    for one in found:
        print(f"{_name(one)}: tried again")
        detail: audit.Detail = {"revision": one.revision, "number": one.number, "target": one.target}
        audit.record(connection, operator(), "report.retry", device=one.device, procedure=one.procedure, detail=detail)
    if not found:
        print("nothing was refused")
    return 0


def _withdrawn(connection: Connection, config: Config, key: Key) -> int:
    found = deliveries.withdrawn(connection, config, key)
    for one in found:
        print(f"withdrawn by hand in {one.where}: study {one.study}")
        detail: audit.Detail = {"revision": key.revision, "number": one.delivery.number, "target": one.delivery.target}
        audit.record(
            connection, operator(), "report.withdrawn", device=key.device, procedure=key.procedure, detail=detail
        )
    if not found:
        print(f"report of {key}: nothing is to be withdrawn")
    return 0 if found else 1


def _show(connection: Connection, config: Config) -> int:
    unfinished, astray = deliveries.unfinished(connection), deliveries.all_astray(connection, config)
    for one in unfinished:
        said = f": {one.said}" if one.said else ""
        tries = f", {one.tries} tries" if one.tries > 1 else ""
        print(f"{one.state:8} {_name(one)}{tries}{said}")
    for wrong in astray:
        print(f"{'wrong':8} {_name(wrong.delivery)}: {wrong}")
    if not unfinished and not astray:
        print("all arrived")
    if any(one.state == "refused" for one in unfinished):
        print("refused ones are tried again by `endoedge-server deliveries --retry`")
    return 1 if astray or any(one.state == "refused" for one in unfinished) else 0


def _name(one: Delivery) -> str:
    return f"{one.device}/{one.procedure}/{one.revision} version {one.number} to {one.target}"


def _key(text: str) -> Key:
    device, _, rest = text.partition("/")
    procedure, _, revision = rest.partition("/")
    if not (device and procedure and revision.isdecimal()):
        raise UsageError(f"--withdrawn {text}: expected DEVICE/PROCEDURE/REVISION")
    return Key(device, procedure, int(revision))
