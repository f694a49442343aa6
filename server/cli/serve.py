"""`endoedge-server serve`: the web, and a worker beside it unless workers run elsewhere."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from server.cli.means import opened

log = logging.getLogger(__name__)
_AGAIN_S = (1.0, 2.0, 5.0, 15.0, 60.0)  # before a worker that ended is started again
_STOP_WITHIN_S = 30.0


def add(commands: Any) -> None:
    parser = commands.add_parser("serve", help="serve boxes and people")
    parser.add_argument("--no-worker", action="store_true", help="workers run elsewhere: `endoedge-server work`")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from server import authority, serving
    from server.app import create
    from server.web import pages

    with opened(options) as means:
        app = create(means.config, means.database, means.keep)
        listener = serving.listen(means.config.http)
        app.state.printers.warm()
        pages.warm()
        web = serving.server(app, means.config.http, authority.certificate_file(means.config.folder))
        print(f"serving {serving.base_url(means.config.http, listener)}", flush=True)
        # uvicorn raises the signal that ended it once more, for whoever had it before: here the worker is still to end.
        signal.signal(signal.SIGTERM, lambda *_: setattr(web, "should_exit", True))
        with contextlib.nullcontext() if options.no_worker else Beside(options.config):
            web.run(sockets=[listener])
    return 0 if web.started else 1


class Beside:
    """A worker in a process of its own (what makes a PDF does not hold up a page), started again when it ends."""

    def __init__(self, config: Path | None) -> None:
        named = ["--config", str(config)] if config else []
        self._command = [sys.executable, "-m", "server.cli", *named, "work", "--parent", str(os.getpid())]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="worker", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_STOP_WITHIN_S)

    def _watch(self) -> None:
        """`PR_SET_PDEATHSIG` is about the thread that started a child: this one lives as long as the process."""
        fell = 0
        while not self._stop.is_set():
            began_s = time.monotonic()
            # Ctrl-C is for the whole group: the worker is told to end when the web has ended.
            child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, start_new_session=True)
            while child.poll() is None and not self._stop.wait(0.1):
                pass
            if child.poll() is None:
                _ended(child)
            if self._stop.is_set():
                return
            fell = 0 if time.monotonic() - began_s > _AGAIN_S[-1] else fell
            wait_s = _AGAIN_S[min(fell, len(_AGAIN_S) - 1)]
            log.error("the worker ended with %d; another one in %g s", child.returncode, wait_s)
            fell += 1
            self._stop.wait(wait_s)


def _ended(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_WITHIN_S - 2)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
