"""`endoedge-server learn export`: what a training takes of signed reports, de-identified."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec

from edge import __version__
from edge.errors import UsageError
from server import audit
from server.cli.means import opened, operator


def add(commands: Any) -> None:
    parser = commands.add_parser("learn", help="write what a training takes of signed reports, de-identified")
    doing = parser.add_subparsers(metavar="COMMAND", required=True)
    export = doing.add_parser("export", help="samples and pairs of all signed reports into a new folder")
    export.add_argument("folder", type=Path, metavar="DIR")
    named = "that no text may hold, beside those the server knows (patients, accounts, institution); as often as needed"
    export.add_argument("--name", action="append", default=[], help=named)
    export.add_argument("--held", type=float, default=0.1, metavar="SHARE", help="of patients, kept apart (0.1)")
    export.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from server.learn.export import Options, export
    from server.signed_cases import signed_cases

    with opened(options) as means:
        wanted = {"frames_most": means.config.draft.frames_most, "held": options.held}
        try:
            chosen = msgspec.convert(wanted, Options)
        except msgspec.ValidationError as exc:
            raise UsageError(f"--held {options.held}: {exc}") from exc
        cases = signed_cases(means.database, means.keep, means.config, tuple(options.name))
        result = export(options.folder, cases, f"endoedge-server {__version__}", chosen)
        detail: audit.Detail = {"cases": result.manifest.cases, "samples": result.manifest.samples}
        with means.database.write() as connection:
            audit.record(connection, operator(), "learn.export", detail=detail)
    print("\n".join(result.lines()))
    return 0
