"""kill -9 of the core, at work on a looped clip with an alert in most frames, or while it starts."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edge import status
from edge.cli import assemble, processes
from edge.cli.assemble import Site
from edge.outbox import OutboxReader
from edge.status import CoreStatus
from edge.uplink.local import Bell
from tests.support import busy

TITLE = "kill -9 of the core"
PROMISE = "all that it had committed when it died is in the outbox, in order and without a gap, and it starts again"
TIMES = 200

STARTS_WITHIN_S = 30.0
YOUNG_S, LIFE_S = 1.0, 0.6  # the longest that it lives; YOUNG_S from its start on
NOWHERE = 9  # the discard port: there is no uplink here


def missing() -> str:
    return "" if importlib.util.find_spec("gi") else "GStreamer's Python package is not installed"


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    file = busy.site(folder, NOWHERE)
    site = assemble.load_site(file)
    assemble.make_run_dir(site)
    last = 0
    with contextlib.closing(Bell(site.bell_path)) as bell:
        for _ in range(times):
            process = processes.start("core", file, folder / "log")
            try:
                wrong = _live(process, site, dice)
            finally:
                process.kill()
                process.wait()
            committed = max(_rings(bell), _said(process.pid, site))
            last, lost = _take(site, last, committed)
            yield wrong or lost


def _live(process: subprocess.Popen[bytes], site: Site, dice: random.Random) -> str:
    """One in three does not live to see its first frame; the others have to."""
    if dice.random() < 1 / 3:
        time.sleep(dice.uniform(0, YOUNG_S))
    else:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not busy.works(process.pid, site.status_path):
            if time.monotonic() > deadline or process.poll() is not None:
                return "the core does not start any more"
            time.sleep(0.01)
        time.sleep(dice.uniform(0, LIFE_S))
    return "" if process.poll() is None else f"the core ended by itself with code {process.returncode}"


def _rings(bell: Bell) -> int:
    """Commits that we were told of: the bell is rung after each."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while bell.socket.recv(16):
            count += 1
    return count


def _said(pid: int, site: Site) -> int:
    """Events that its last status says are committed."""
    said = status.read(site.status_path, CoreStatus)
    return said.events if said is not None and said.pid == pid else 0


def _take(site: Site, last: int, committed: int) -> tuple[int, str]:
    """Empty the outbox, as an uplink would. The last seq now, and what is wrong."""
    if not site.outbox_path.exists():
        return last, f"{committed} events were committed and there is no outbox" if committed else ""
    with contextlib.closing(OutboxReader.open(site.outbox_path)) as reader:
        rows = reader.pending(sys.maxsize)
        reader.delete([row.seq for row in rows])
    seqs = [row.seq for row in rows]
    if seqs != list(range(last + 1, last + 1 + len(seqs))):
        return last, f"a gap: {seqs[:20]} after {last}"
    if len(seqs) < committed:
        return last, f"{len(seqs)} events are in the outbox, {committed} were committed"
    return max([last, *seqs]), ""
