"""`endoedge-server work`: drafts and deliveries. Any number of them may run on one PostgreSQL.

It ends with 1 when it lost its seat or its database, and whoever started it starts it again: what it had in hand is
carried on by another worker, or by the next one here.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from server.cli.means import opened
from server.errors import ServerError

log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
_GONE_WITHIN_S = 26.0  # after it was told to end, whatever hangs; `jobs.FINISH_WITHIN_S` is for what is in hand


def add(commands: Any) -> None:
    parser = commands.add_parser("work", help="draft reports and deliver them")
    parser.add_argument("--parent", type=int, metavar="PID", help=argparse.SUPPRESS)  # ends when that process does
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from server import deliver, drafting, jobs, retention

    if options.parent is not None:
        _die_with(options.parent)
    with opened(options) as means:
        drafting.ready(means.config)
        until_told(lambda stop: jobs.work(*means, (drafting.Due(), deliver.due, retention.due), stop))


def until_told(work: Callable[[threading.Event], None]) -> NoReturn:
    """Until SIGTERM or SIGINT, then out, whatever hangs."""
    stop = threading.Event()

    def told(*_: object) -> None:
        stop.set()
        timer = threading.Timer(_GONE_WITHIN_S, os._exit, (1,))
        timer.daemon = True
        timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    code = 0
    try:
        work(stop)
    except ServerError as exc:
        print(f"error: {exc}", file=sys.stderr)
        code = 1
    except BaseException:
        log.exception("a worker ends")
        code = 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Python would wait for the threads of jobs that hang


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise ServerError(f"process {parent}, which started this worker, is gone")
