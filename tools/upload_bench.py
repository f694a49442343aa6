#!/usr/bin/env python3
"""How long a procedure's upload takes on loopback: 12 key frames of about 200 KiB and the record, by the box's own
code against a real server and its worker. Prints p50, p95, p99 and what the disk's fsync takes beside it.

tools/upload_bench.py --procedures 100 --postgresql
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge.uplink.handover import Sent
from tests.support.boxes import procedure, upload
from tests.support.farm import Farm, cpu_s
from tests.support.postgresql import PostgreSQL, missing

FRAMES, SIZE = 12, 200 << 10
PROMISED_S = 1.0


@contextlib.contextmanager
def database(postgresql: bool) -> Iterator[str]:
    """Its address; "" is SQLite."""
    if not postgresql:
        yield ""
        return
    if reason := missing():
        raise SystemExit(f"--postgresql: {reason}")
    with PostgreSQL(durable=True) as server:
        yield server.url()


def measure(farm: Farm, procedures: int, at_once: int) -> list[float]:
    devices = [f"bench-{number}" for number in range(at_once)]
    tokens = {device: farm.token(device) for device in devices}

    def box(device: str) -> list[float]:
        took = []
        for number in range(procedures // at_once):
            record, pictures = procedure(device, f"{device}-{number}", frames=FRAMES, size=SIZE)
            begun_s = time.monotonic()
            end = upload(farm.url(), tokens[device], record, pictures)
            assert isinstance(end, Sent), end
            took.append(time.monotonic() - begun_s)
        return took

    with ThreadPoolExecutor(at_once) as pool:
        return [one for took in pool.map(box, devices) for one in took]


def fsync_s(folder: Path) -> float:
    """Median of writing one such picture durably here: what no server can be faster than."""
    took = []
    for number in range(50):
        begun_s = time.monotonic()
        with (folder / f"probe-{number}").open("wb") as file:
            file.write(os.urandom(SIZE))
            file.flush()
            os.fsync(file.fileno())
        took.append(time.monotonic() - begun_s)
    return statistics.median(took)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--procedures", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="boxes that upload at the same time")
    parser.add_argument("--postgresql", action="store_true", help="one of its own, with fsync, instead of SQLite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="upload-") as name:
        folder = Path(name)
        with database(options.postgresql) as url, Farm(folder / "farm", url) as farm:
            farm.web()
            farm.worker()
            farm.wait_up()
            measure(farm, options.at_once, options.at_once)  # warm
            before_s = cpu_s(farm.processes["web 0"].pid)
            took = sorted(measure(farm, options.procedures, options.at_once))
            web_s = (cpu_s(farm.processes["web 0"].pid) - before_s) / len(took)
            probe_s = fsync_s(folder)
    p50, p95, p99 = (took[min(len(took) - 1, int(len(took) * share))] for share in (0.5, 0.95, 0.99))
    print(f"{len(took)} procedures of {FRAMES} key frames of {SIZE >> 10} KiB, {options.at_once} at once, "
          f"{'PostgreSQL' if options.postgresql else 'SQLite'}")  # fmt: skip
    print(
        f"p50 {p50 * 1000:.0f} ms   p95 {p95 * 1000:.0f} ms   p99 {p99 * 1000:.0f} ms   most {took[-1] * 1000:.0f} ms"
    )
    print(f"the web's own work: {web_s * 1000:.0f} ms of one core for each procedure")
    print(f"one such picture written durably by hand: {probe_s * 1000:.1f} ms")
    return 0 if p99 <= PROMISED_S or options.at_once > 1 else 1


if __name__ == "__main__":
    sys.exit(main())
