"""What a fleet costs in requests and bytes: checks of metadata, and one release given out in shares. Arithmetic, not a
load test; who is in a share is asked of the boxes' own code (`edge.update.policy.chosen`).
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from edge.update.policy import chosen
from tools.release.publish import share

HELP = "arithmetic for a fleet of boxes"
CHECK_BYTES = 20_000  # the most that a check takes, TLS and HTTP included
CHECK_REQUESTS = 2  # when nothing is new: timestamp.json, and the next root, which is not there
_HOURS = re.compile(r"([0-9]+(?:\.[0-9]+)?)h")
_COLUMNS = ("from hour", "share", "boxes", "reached", "new", "GB", "Mbit/s", "peak", "at once", "all by hour")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--boxes", type=int, default=10_000, metavar="N", help="(%(default)s)")
    parser.add_argument("--bundle-bytes", type=int, required=True, metavar="N")
    parser.add_argument("--check-bytes", type=int, default=CHECK_BYTES, metavar="N", help="of a check (%(default)s)")
    parser.add_argument("--check-every", type=_hours, default=6.0, metavar="6h", help="(6h)")
    parser.add_argument(
        "--share", type=share, action="append", metavar="0..1", help="a step of the rollout (0.01, 0.1, 0.5, 1)"
    )
    parser.add_argument("--step-every", type=_hours, default=24.0, metavar="24h", help="from step to step (24h)")
    parser.add_argument("--version", default="1.2.0", metavar="V", help="others are chosen for each (%(default)s)")


def main(asked: argparse.Namespace) -> int:
    console = Console(highlight=False, width=120)
    console.print(_checks(asked))
    console.print(_rollout(asked, asked.share or [0.01, 0.1, 0.5, 1.0]))
    console.print(
        "Mbit/s: on average, of boxes that are always on and look at minutes of their own; peak: their busiest"
    )
    console.print("minute. at once: all are switched on in the same moment, and first look within ten minutes.")
    return 0


def _checks(asked: argparse.Namespace) -> Table:
    per_day = asked.boxes * 24 / asked.check_every
    requests, busiest = per_day * CHECK_REQUESTS, max(_minutes(devices(asked.boxes), asked.check_every).values())
    average = asked.boxes / (asked.check_every * 60)
    table = Table("checks of metadata", "", title=f"{asked.boxes:,} boxes, each looks every {asked.check_every:g} h")
    table.add_row("checks a day", f"{per_day:,.0f}")
    table.add_row("requests a day", f"{requests:,.0f}, {requests / 86400:.2f} a second")
    table.add_row("bytes a day", f"{per_day * asked.check_bytes / 1e6:,.0f} MB, {asked.check_bytes:,} a check")
    table.add_row("checks in the busiest minute", f"{busiest}, {average:.1f} on average")
    table.add_row("... all switched on at once", f"{asked.boxes * 60 / _first_s():,.0f}")
    return table


def _rollout(asked: argparse.Namespace, shares: Sequence[float]) -> Table:
    """All boxes of a step have seen it within one interval, and fetch when they have seen it."""
    table = Table(title=f"a bundle of {asked.bundle_bytes:,} bytes, a step every {asked.step_every:g} h")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    fleet, before = devices(asked.boxes), set[str]()
    for number, step in enumerate(sorted(shares)):
        now = {device for device in fleet if chosen(device, asked.version, step)}
        new, begins = now - before, number * asked.step_every
        size = len(new) * asked.bundle_bytes
        peak = max(_minutes(new, asked.check_every).values(), default=0) * asked.bundle_bytes / 60
        rates = [f"{rate * 8 / 1e6:,.0f}" for rate in (size / asked.check_every / 3600, peak, size / _first_s())]
        reached = [f"{step:.0%}", f"{len(now):,}", f"{len(now) / asked.boxes:.2%}", f"{len(new):,}"]
        table.add_row(f"{begins:g}", *reached, f"{size / 1e9:,.0f}", *rates, f"{begins + asked.check_every:g}")
        before = now
    return table


def devices(number: int) -> list[str]:
    """Ids such as sites give them."""
    return [f"endoscopy-{number:05d}" for number in range(number)]


def _minutes(some: Sequence[str] | set[str], every: float) -> Counter[int]:
    """Of an interval, by hash: how many look in each."""
    length = max(round(every * 60), 1)
    return Counter(int.from_bytes(hashlib.sha256(device.encode()).digest()[:8], "big") % length for device in some)


def _first_s() -> float:
    from edge.update.updater import FIRST_LOOK_S

    return FIRST_LOOK_S[1] - FIRST_LOOK_S[0]


def _hours(text: str) -> float:
    found = _HOURS.fullmatch(text)
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text}: expected hours, such as 6h")
    return float(found[1])
