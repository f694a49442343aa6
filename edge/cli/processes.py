"""Our processes as children of one command, for the desk and the demo. On a box systemd does this."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from edge import clock
from edge.cli.site import make_run_dir, read_site

STOP_WITHIN_S = 10.0
DRAIN_S = 3.0  # for the uplink to empty the outbox after the core has ended


def start(part: str, config: Path, log: Path | None = None) -> subprocess.Popen[bytes]:
    """`endoedge run PART`; its output goes to `log`, or where ours goes."""
    command = [sys.executable, "-m", "edge.cli", "run", part, "-c", str(config)]
    if log is None:
        return subprocess.Popen(command)
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)


def stop(process: subprocess.Popen[bytes]) -> int:
    """SIGTERM, and SIGKILL when that is not heard in time. Returns the exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


@contextlib.contextmanager
def running(part: str, config: Path, log: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    process = start(part, config, log)
    try:
        yield process
    finally:
        stop(process)


def serve(options: argparse.Namespace, told: threading.Event) -> int:
    """Core and uplink until one of them ends or we are told to stop; the first bad exit code is ours."""
    config: Path = options.config
    make_run_dir(read_site(config))
    children = {part: start(part, config) for part in ("uplink", "core")}
    try:
        while not clock.wait(told, 0.1):
            if any(child.poll() is not None for child in children.values()):
                break
        if children["core"].poll() is not None and children["uplink"].poll() is None:
            time.sleep(DRAIN_S)
    finally:
        codes = [stop(children[part]) for part in ("core", "uplink")]
    return next((1 if code < 0 else code for code in codes if code), 0)
