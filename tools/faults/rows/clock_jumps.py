"""Somebody sets the clock: an hour, ten years, to 1970, and back; while all of ours run."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

from edge.uplink.wire import UplinkStatus
from tests.support import wall_clock
from tests.support.broker import Broker, missing_tools
from tests.support.cast import Stage
from tests.support.console import Wire, console, make_keys, signed
from tests.support.rounds import Play, playing
from tests.support.wall_clock import YEAR_S, WallClock

TITLE = "the wall clock jumps by hours and years, and to 1970, under writer, uplink and console"
PROMISE = (
    "no connection ends, no retry waits longer, the age of what waits is true, nobody is logged out; every committed "
    "message arrives, in order"
)
TIMES, FEW = 40, 1
HOUR_S = 3600.0
STEPS_S = (HOUR_S, -HOUR_S, 10 * YEAR_S, -10 * YEAR_S)
BACK_WITHIN_S = 10.0  # its back-off ends after 0.2 s


def missing() -> str:
    return missing_tools() or wall_clock.missing()


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    clock = WallClock(folder)
    broker = Broker(folder)
    stages = {name: Stage(env=clock.env) for name in ("writer", "uplink")}
    key = make_keys(folder)
    # "subscriber": the broker is killed, too, and has no memory.
    with (
        playing(folder, broker, stages=stages, confirm="subscriber", confirm_timeout_s=1.0) as scene,
        console(folder, env=clock.env) as (wire, _),
    ):
        _log_in(wire, key)
        for _ in range(times):
            yield (
                scene.round(_connected(scene, clock, dice), None, dice)
                or scene.round(_away(scene, clock, dice), None, dice)
                or _still_logged_in(wire)
            )


def _jump(clock: WallClock, dice: random.Random) -> None:
    """From wherever it is now."""
    if dice.random() < 0.2:
        clock.boot_in_1970()
    else:
        clock.move(dice.choice(STEPS_S))


@contextlib.contextmanager
def _connected(scene: Play, clock: WallClock, dice: random.Random) -> Iterator[None]:
    """With a connection that has to stay, for longer than a broker may be silent (4 s here)."""
    status = scene.wait_said(lambda status: status.connected)
    _jump(clock, dice)
    until_s = time.monotonic() + 5
    yield
    after = scene.wait_said(lambda _: time.monotonic() > until_s)
    assert after.connects == status.connects, f"the jump ended a connection: {after.last_error!r}"


@contextlib.contextmanager
def _away(scene: Play, clock: WallClock, dice: random.Random) -> Iterator[None]:
    """Without a broker: what waits grows older by the second, and no other way."""
    began_s = time.monotonic()
    scene.cast.broker.kill()
    scene.wait_said(lambda status: not status.connected and status.depth > 0)
    _jump(clock, dice)

    def aged(status: UplinkStatus) -> bool:
        # What was sent and not yet confirmed was a second old at most.
        limit_s = time.monotonic() - began_s + 2
        assert status.oldest_age_s <= limit_s, f"waits {limit_s:.0f} s at most, said: {status.oldest_age_s:.0f} s"
        return status.oldest_age_s > 1.5

    try:
        scene.wait_said(aged)
        _jump(clock, dice)
        yield
    finally:
        scene.cast.broker.start()
    scene.wait_said(lambda status: status.connected, BACK_WITHIN_S)


def _log_in(wire: Wire, key: Path) -> None:
    wire.prompt()
    found = re.search(r"nonce +([0-9a-f]{32})", wire.ask("login"))
    assert found, "no nonce"
    welcome = wire.ask(f"login {signed(key, found[1])}")
    assert "welcome" in welcome, welcome


def _still_logged_in(wire: Wire) -> str:
    """`reboot` alone says what it would do, to those who may."""
    said = wire.ask("reboot")
    return "" if "reboot now" in said else f"the console says: {' '.join(said.split())}"
