"""`endoedge-server audit`: who did what, and whether what is written still holds."""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import msgspec

from server import audit
from server.cli.means import opened
from server.errors import ServerError


def add(commands: Any) -> None:
    parser = commands.add_parser("audit", help="who did what: show, verify")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("show", help="lines as JSON, one a line")
    show.add_argument("--after", type=int, default=0, metavar="N", help="lines with a higher number alone")
    show.add_argument("--most", type=int, metavar="N", help="so many, and no more")
    show.add_argument("--who", metavar="NAME", help="of an account, a box (box:DEVICE), ...")
    show.add_argument("--procedure", metavar="ID")
    actions.add_parser("head", help="number and hash of the newest line: keep it elsewhere")
    verify = actions.add_parser("verify", help="each line against the one before")
    verify.add_argument("--head", type=Path, metavar="FILE", help="what `head` printed earlier; finds an end cut off")
    for name, action in actions.choices.items():
        action.set_defaults(run=run, action=name)


def run(options: argparse.Namespace) -> int:
    with opened(options) as means:
        if options.action == "verify":
            return _verify(audit.verify(means.database, _known(options.head)))
        with means.database.read() as connection:
            if options.action == "head":
                print(audit.head(connection))
                return 0
            wanted = (
                row
                for row in audit.lines(connection, options.after)
                if options.who in (None, row.who) and options.procedure in (None, row.procedure)
            )
            for row in itertools.islice(wanted, options.most):
                print(msgspec.json.encode(dict(row._mapping)).decode())
    return 0


def _known(file: Path | None) -> audit.Head | None:
    if file is None:
        return None
    try:
        return audit.parse_head(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise ServerError(f"--head {file}: {exc}") from exc


def _verify(verdict: audit.Verdict) -> int:
    if verdict.wrong:
        print(f"line {verdict.wrong}: {verdict.why}", file=sys.stderr)
        return 1
    print(f"{verdict.head.number} lines hold; head {verdict.head}")
    return 0
