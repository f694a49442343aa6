#!/usr/bin/env python3
"""How much memory each process of the box takes: core (phantom at its own pace, INT8 model on the CPU), uplink (a real
broker, metrics), console, safe state. All run together on this machine for a while; a table is printed.

tools/footprint.py [--seconds 30]

RSS counts a page of a library in each process that uses it, PSS shares it among them; the peak is RSS's since the
start, and a core that had to render the phantom first has that in it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edge.cli import broker, processes  # noqa: E402
from tools import console_session  # noqa: E402

UPLINK = "port = {}\nrequire_subscriber = false\n[uplink.metrics]\nport = 0\n"
_KIB = 1024


class Memory(NamedTuple):
    """Bytes."""

    rss: int
    pss: int
    peak: int


def memory(pid: int) -> Memory:
    """Linux: proc(5), smaps_rollup and status. Raises OSError: no such process, or another user's."""
    now, ever = _fields(Path(f"/proc/{pid}/smaps_rollup")), _fields(Path(f"/proc/{pid}/status"))
    return Memory(now["Rss"], now["Pss"], ever["VmHWM"])


def _fields(path: Path) -> dict[str, int]:
    """Lines `NAME: NUMBER kB`, in bytes."""
    words = (line.split() for line in path.read_text().splitlines())
    return {word[0].rstrip(":"): int(word[1]) * _KIB for word in words if len(word) == 3 and word[2] == "kB"}


def measure(seconds: float) -> dict[str, Memory]:
    """By process, after so long."""
    with tempfile.TemporaryDirectory() as name, broker.running(Path(name)) as port:
        folder = Path(name)
        with (
            console_session.box(folder, "real", UPLINK.format(port)) as (_, pids),
            processes.running("safe", folder / "endoedge.toml", folder / "safe.log") as safe,
        ):
            time.sleep(seconds)
            return {part: memory(pid) for part, pid in {**pids, "safe": safe.pid}.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="that they run before they are looked at")
    found = measure(parser.parse_args().seconds)
    print(f"{'MiB':<10}{'RSS':>8}{'PSS':>8}{'peak':>8}")
    for part, taken in found.items():
        print(f"{part:<10}" + "".join(f"{value / 2**20:8.1f}" for value in taken))
    print(f"{'together':<10}{'':8}{sum(taken.pss for taken in found.values()) / 2**20:8.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
