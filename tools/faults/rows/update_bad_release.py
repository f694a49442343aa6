"""Releases that are bad in each way that a gate has to see: the box is back on the one before by itself."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Generator
from pathlib import Path

from tools.faults import updates
from tools.faults.box import LostError, verdict
from tools.faults.updates import Life, Source

TITLE = "a new release crashes, hangs, stops with its updater, is slow, loses the broker, has a worse model"
PROMISE = "the release before runs again within the trial's time and 5 s, and the updater says why"
TIMES = 30

TRIAL_S = 8.0
MORE_S = 5.0
TRIED_WITHIN_S = 60.0

missing = updates.missing


def play(folder: Path, times: int, dice: random.Random) -> Generator[str, None, str]:
    took_s: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with updates.living(folder, TRIAL_S) as (source, life):
        before = source.publish()
        life.want(before)
        life.arrive(before)
        kinds: list[str] = []
        for _ in range(times):
            kinds = kinds or dice.sample(list(KINDS), len(KINDS))
            yield verdict(_round, source, life, before, kinds[0], took_s)
            kinds = kinds[1:]
    each = [f"{kind} {max(all_s):.1f} ({statistics.median(all_s):.1f})" for kind, all_s in took_s.items() if all_s]
    return f"back at most (p50) so many s after a trial of {TRIAL_S:.0f} s began: {', '.join(each)}"


def _round(source: Source, life: Life, before: str, kind: str, took_s: dict[str, list[float]]) -> None:
    bad, words = KINDS[kind]
    version = source.next_version
    bad(life, version)
    assert source.publish() == version
    life.want(version)
    life.wait(lambda: life.runs(version), f"{kind}: {version} is not tried", TRIED_WITHIN_S)
    began_s = json.loads((life.box.running / "trial").read_text())["began_s"]
    life.want("")
    life.wait(lambda: life.holds(before), f"{kind}: {before} does not run again", TRIAL_S + TRIED_WITHIN_S)
    took_s[kind].append(time.clock_gettime(time.CLOCK_BOOTTIME) - began_s)
    said = life.now.trouble if life.now else ""
    if took_s[kind][-1] > TRIAL_S + MORE_S:
        raise LostError(f"{kind}: it was back after {took_s[kind][-1]:.1f} s, and a trial takes {TRIAL_S:.0f} s")
    if words not in said:
        raise LostError(f"{kind}: expected that it says {words!r}: {said!r}")
    if wrong := updates.ready(life, source):
        raise LostError(wrong)


Make = Callable[[Life, str], None]


def _core(**what: object) -> Make:
    """From then on it says this."""
    return lambda life, version: life.steady.later.update({version: what})


def _fails(life: Life, version: str) -> None:
    life.fails[version] = "3 of 8 pictures are judged otherwise"


def _crashes(life: Life, version: str) -> None:
    life.steady.later[version] = {"alive": False}
    life.breaks[version] = "the core is not started: it crashed (SIGSEGV)"


def _stops(life: Life, version: str) -> None:
    life.steady.later[version] = {"alive": False}
    life.hangs.add(version)


KINDS: dict[str, tuple[Make, str]] = {
    "crashes": (_crashes, "it crashed (SIGSEGV)"),
    "hangs": (_core(alive=False), "the core says nothing of itself"),
    "hangs, its updater with it": (_stops, "it did not hold in time"),
    "slow": (_core(fps=5.0), "5.0 frames a second, 25.0 before"),
    "no broker": (_core(connected=False), "the broker is not reached"),
    "worse model": (_fails, "3 of 8 pictures are judged otherwise"),
}
