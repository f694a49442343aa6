"""`endoedge-server erase`: a procedure goes, because the law wants it."""

from __future__ import annotations

import argparse
from typing import Any

from server import erasure, pictures
from server.cli.means import opened, operator


def add(commands: Any) -> None:
    parser = commands.add_parser("erase", help="erase a procedure: record, reports, patient, key frames")
    parser.add_argument("device", metavar="DEVICE")
    parser.add_argument("procedure", metavar="PROCEDURE")
    why = "request: the patient's; order: a court's or an authority's; mistake: it should not be here"
    parser.add_argument(
        "--reason", required=True, choices=[one for one in erasure.REASONS if one != "retention"], help=why
    )
    parser.add_argument("--reference", default="", metavar="NUMBER", help="of the file that says so; nobody's name")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with opened(options) as means:
        done = erasure.erase(
            means.database,
            means.config,
            options.device,
            options.procedure,
            by=operator(),
            reason=options.reason,
            reference=options.reference,
        )
        pictures.clear(means.database, means.keep)
    print(
        f"{done.device} {done.procedure}: erased, with {done.versions} versions of reports, {done.pictures} key frames"
    )
    for system in done.elsewhere:
        print(f"it was sent to {system}: have it erased there, too")
    print("It is still in backups that were made before.")
    return 0
