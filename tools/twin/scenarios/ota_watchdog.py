"""With a release whose machine hangs whenever it is tried, the machine's own watchdog resets it each time, the starts
are counted, and after the third the release before runs again, by itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

from edge.update import slot
from tools.twin.guest import switching, updates
from tools.twin.guest.twin import Twin, expect

UPDATES = "http"
CAMERA = False
LIMIT_S = 600.0
_HUNG = Path("/var/lib/twin-hung")  # when, once for each time


def run(twin: Twin) -> None:
    """Once for each time that the machine starts."""
    [version] = updates.given().versions
    hung = _hung()
    if hung:
        reset = updates.reset_by_watchdog()
        twin.say(f"reset by {reset or 'something else'}, {updates.booted_at() - hung[-1]:.0f} s after it hung")
        expect(bool(reset), f"it was not the watchdog that ended hang {len(hung)}")
    trial = updates.on_trial()
    if trial is not None:
        expect(trial["start"] == len(hung) + 1, f"start {trial['start']} after {len(hung)} hangs")
        _hang(twin, f"start {trial['start']} of {trial['starts']}")
    core = switching.begin(twin)
    if not hung:
        twin.wait(f"{version} is offered", lambda: version in switching.check() or None, switching.OFFERED_WITHIN_S)
        updates.agrees(version)
        twin.wait("its trial", updates.on_trial, switching.LIVE_WITHIN_S)
        _hang(twin, "the first start")
    expect(len(hung) == slot.STARTS, f"the old one is back after {len(hung)} hangs")
    expect(core.version != version and updates.booted() == "F", f"{core.version} runs from {updates.booted()}")
    boot = updates.boot()
    twin.say(f"{version} did not hold: {boot.why}")
    expect("was started 3 times" in boot.why and not boot.trial, f"{boot}")
    twin.measure("first hang to the old release, s", time.time() - hung[0])
    twin.measure("resets by the watchdog", len(hung))


def _hung() -> list[float]:
    return [float(line) for line in _HUNG.read_text().split()] if _HUNG.exists() else []


def _hang(twin: Twin, when: str) -> None:
    """The kernel stops, and with it whoever feeds the watchdog."""
    twin.say(f"{updates.booted()} is on trial, and hangs the machine: {when}")
    with _HUNG.open("a") as file:
        file.write(f"{time.time()}\n")
        file.flush()
        os.fsync(file.fileno())
    time.sleep(1.0)  # what was said is out
    Path("/proc/sys/kernel/panic").write_text("0")  # a panic is the end
    Path("/proc/sysrq-trigger").write_text("c")
    time.sleep(3600)
