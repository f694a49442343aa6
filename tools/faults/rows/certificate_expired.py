"""A certificate's dates, and clocks that have another idea of today."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import wall_clock
from tests.support.broker import Authority, Broker, missing_tools
from tests.support.cast import Stage
from tests.support.rounds import playing, says
from tests.support.wall_clock import YEAR_S, WallClock

TITLE = "a certificate has expired, or is not valid yet: by the box's clock, or by the broker's"
PROMISE = "the uplink says whose certificate and what to do, and waits; every committed message arrives, in order"
TIMES, FEW = 30, 2
OLD = "its certificate has expired: renew it, or correct this box's clock"
YOUNG = "its certificate is not valid yet: correct this box's clock"
OURS_OLD = "it says that our certificate {cert} has expired: renew it"


def missing() -> str:
    return missing_tools() or wall_clock.missing()


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    authority = Authority(folder)
    (folder / "broker-clock").mkdir()
    ours, theirs = WallClock(folder), WallClock(folder / "broker-clock")
    box, ward = authority.issue("box-1"), authority.issue("ward")
    broker = Broker(folder, tls=authority.issue("broker"), client_ca=authority.ca, env=theirs.env)
    site: dict[str, Any] = {
        "tls": {"ca": str(authority.ca), "cert": str(box.cert), "key": str(box.key)},
        "confirm": "subscriber",
    }
    other = {"tls": {"ca": str(authority.ca), "cert": str(ward.cert), "key": str(ward.key)}}
    cases = (
        (ours, 10 * YEAR_S, OLD),
        (ours, -10 * YEAR_S, YOUNG),
        (theirs, 10 * YEAR_S, OURS_OLD.format(cert=box.cert)),
    )
    with playing(folder, broker, stages={"uplink": Stage(env=ours.env)}, ward=other, **site) as scene:
        for number in range(times):
            clock, off_s, text = cases[number % len(cases)]
            yield scene.round(_wrong(clock, off_s, broker), says(text), dice)


@contextlib.contextmanager
def _wrong(clock: WallClock, off_s: float, broker: Broker) -> Iterator[None]:
    """Dates are looked at when a connection begins, so the broker is started anew."""
    broker.kill()
    clock.move(off_s)
    broker.start()
    try:
        yield
    finally:
        clock.move(0)
