"""`endoedge-server check`."""

from __future__ import annotations

import argparse
import logging
import time
from typing import Any

import msgspec

from edge.console.report import Report, page
from server.cli.means import opened


def add(commands: Any) -> None:
    parser = commands.add_parser("check", help="configuration, database, key frames, certificate, and whom it sends to")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the page")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from server.checks import rows

    for talkative in ("pynetdicom", "httpx"):
        logging.getLogger(talkative).setLevel(logging.CRITICAL)  # the rows say it
    begun_s = time.monotonic()
    with opened(options, tables=False) as means:
        found = list(rows(means.config, means.database, means.keep))
    code = 1 if any(row.good is False for row in found) else 0
    seconds = round(time.monotonic() - begun_s, 1)
    report = Report(ok=code == 0, checks=found, exit=code, seconds=seconds, at_ns=time.monotonic_ns())
    print(msgspec.json.encode(report).decode() if options.json else "\n".join(page(report)))
    return code
