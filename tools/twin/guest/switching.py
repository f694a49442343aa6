"""A person's way from one release to the next, and what has to be so before, meanwhile and after it."""

from __future__ import annotations

import time

from edge.status import CoreStatus
from tools.twin.guest import box, updates
from tools.twin.guest.box import CORE
from tools.twin.guest.twin import Twin, expect

LIVE_WITHIN_S, HOLDS_WITHIN_S, OFFERED_WITHIN_S, SWITCHES_WITHIN_S = 240.0, 240.0, 120.0, 240.0


def begin(twin: Twin) -> CoreStatus:
    """The box runs with whatever release it has; the cable is out. What that is."""
    twin.units += [f"endoedge-{name}.service" for name in updates.PARTS if f"endoedge-{name}.service" not in twin.units]
    core = twin.wait("the core", updates.core, LIVE_WITHIN_S)
    twin.wait("the updater", updates.said, LIVE_WITHIN_S)
    twin.say(f"{core.version} runs from {updates.booted()}")
    return core


def change(twin: Twin, version: str, *source: str, name: str = "") -> None:
    """By a person's consent to that release: it runs, it holds, and what it sees is heard outside. `name`: in the
    report, of this switch.

    The null model takes any live picture for the inside of a body, so there is a procedure: nothing may be written
    until it is over, when the cable is out. It is in again as soon as the box switches. An emulated machine has a hard
    time with pictures, so the cable is out while nothing is measured.
    """
    name = f", {name}" if name else ""
    before, slot = twin.core().pid, updates.booted()
    twin.wait(f"{version} is offered", lambda: version in check(*source) or None, OFFERED_WITHIN_S)
    _wait_for_the_procedure(twin, version, *source)
    began = time.monotonic()
    twin.wait("the switch", lambda: _state() == "switching" or None, SWITCHES_WITHIN_S)
    twin.measure(f"no picture to switch{name}, s", time.monotonic() - began)
    twin.hdmi.plug()
    core = twin.wait(f"{version} is live", lambda: _of(version, updates.live()), LIVE_WITHIN_S)
    stopped_ns = int(box.run("systemctl", "show", "-P", "ActiveExitTimestampMonotonic", CORE)) * 1000
    live = twin.wait_for_since("live", stopped_ns, LIVE_WITHIN_S)
    twin.took(f"stop of the old to live of the new{name}, s", stopped_ns, live)
    expect(core.pid != before and updates.booted() not in ("", slot), f"{updates.booted()} runs, and {slot} did before")
    twin.say(f"{version} runs from {updates.booted()}: {'on trial' if updates.on_trial() else 'without a trial'}")
    twin.hdmi.pull()

    twin.wait(f"{version} holds", lambda: _holds(version), HOLDS_WITHIN_S)
    twin.measure(f"live to held{name}, s", time.monotonic() - live.captured_ns / 1e9)
    expect(updates.boot().primary == updates.booted() == _slot(version), f"{updates.boot()}")
    expect(twin.core().pid == core.pid, "the core was started again meanwhile")
    plugged_ns = twin.hdmi.plug()
    twin.wait_for_since("live", plugged_ns, LIVE_WITHIN_S)
    twin.wait_for_frames()
    twin.hdmi.pull()
    twin.wait_for_loss()
    twin.say(updates.asks("history").splitlines()[-1])


def _wait_for_the_procedure(twin: Twin, version: str, *source: str) -> None:
    """Consent is given while there is one, and then it ends."""
    plugged_ns = twin.hdmi.plug()
    twin.wait_for_since("live", plugged_ns, LIVE_WITHIN_S)
    twin.wait("a procedure", lambda: ((core := updates.core()) and core.procedure) or None, LIVE_WITHIN_S)
    said = updates.asks("install", version, *source)
    twin.say(f"endoedge update install {version}: {said}")
    expect("a procedure is going on" in said, f"it does not wait for the procedure's end: {said}")
    twin.hdmi.pull()
    twin.wait_for_loss()


def check(*source: str) -> str:
    """A person's `endoedge update check`: what is offered, or why nothing is."""
    return box.run(str(box.COMMAND), "update", "check", *source, check=False)


def _state() -> str:
    known = updates.memory()
    return known.state if known is not None else ""


def _of(version: str, core: CoreStatus | None) -> CoreStatus | None:
    return core if core is not None and core.version == version else None


def _slot(version: str) -> str:
    said = updates.said()
    return said.slot if said is not None and said.version == version else ""


def _holds(version: str) -> bool | None:
    known, core = updates.memory(), _of(version, updates.core())
    held = known is not None and known.state == "idle" and not updates.boot().trial
    expect(core is not None or not held, f"{version} did not hold: {updates.boot().why}")
    return (held and _slot(version) != "") or None
