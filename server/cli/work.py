"""`endoedge-server work`: drafts and deliveries. Any number of them may run on one PostgreSQL."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import threading
from typing import Any

from server.cli.means import opened
from server.errors import ServerError

_PR_SET_PDEATHSIG = 1


def add(commands: Any) -> None:
    parser = commands.add_parser("work", help="draft reports and deliver them")
    parser.add_argument("--parent", type=int, metavar="PID", help=argparse.SUPPRESS)  # ends when that process does
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from server import drafting, jobs

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.parent is not None:
        _die_with(options.parent)
    with opened(options) as means:
        jobs.work(means.config, means.database, means.keep, (drafting.due,), stop)
    return 0


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise ServerError(f"process {parent}, which started this worker, is gone")
