"""kill -9 of the safe state's keeper."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from edge import status
from edge.cli import processes, safe
from edge.status import SafeStatus

TITLE = "kill -9 of the safe state"
PROMISE = "its file is whole or not there at every moment, and the next one says the same reason"
TIMES = 200

STARTS_WITHIN_S = 30.0
LIFE_S = 0.3
WORDS = "the camera is gone"


def missing() -> str:
    return ""


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    file, run = folder / "endoedge.toml", folder / "run"
    file.write_text(
        'device = "box-1"\npipeline = "colonoscopy"\nrun_dir = "run"\n'
        '[capture]\nsource = "test"\n[uplink]\nhost = "localhost"\n'
    )
    run.mkdir()
    (run / safe.END).write_text("exit-code exited 1")
    safe.keep_words(run, WORDS)
    for _ in range(times):
        process = processes.start("safe", file, folder / "log")
        try:
            wrong = _live(process, run / "safe.json", dice)
        finally:
            process.kill()
            process.wait()
        yield wrong or _whole(run / "safe.json")


def _live(process: subprocess.Popen[bytes], path: Path, dice: random.Random) -> str:
    """One in three dies while it starts; the others have to say something first."""
    began_ns, young = time.monotonic_ns(), dice.random() < 1 / 3
    ends_ns = began_ns + int((dice.uniform(0, 0.5) if young else STARTS_WITHIN_S) * 1e9)
    while time.monotonic_ns() < ends_ns:
        if wrong := _whole(path):
            return wrong
        if (said := status.read(path, SafeStatus)) is not None and said.updated_ns > began_ns:
            time.sleep(dice.uniform(0, LIFE_S))
            return "" if process.poll() is None else f"it ended by itself with code {process.returncode}"
        time.sleep(0.005)
    return "" if young else "it does not start any more"


def _whole(path: Path) -> str:
    there = path.exists()  # asked first: it may come between the two, and does not go while we look
    said = status.read(path, SafeStatus)
    if said is None:
        return f"{path.name} cannot be read" if there else ""
    return "" if WORDS in said.reason else f"it has forgotten why: {said.reason}"
