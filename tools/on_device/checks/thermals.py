"""The board's own sensors: all say something, quickly, and the box is cool and not held back before it works."""

from __future__ import annotations

import time

from edge import board
from edge.types import BoardReading
from tools.on_device import Context, Result, failed, passed

TITLE = "temperatures, power, clocks, throttling"
LIMIT_S = 60.0
READINGS = 20
ROOM_C = 20.0  # at rest, below the limit
SLOWEST_S = 0.5  # the watch reads once a second


def run(context: Context) -> Result:
    context.need_jetson("a Jetson's sensors")
    here = board.open(context.root)
    took, readings = [], []
    for _ in range(READINGS):
        begun = time.monotonic()
        readings.append(here.read())
        took.append(time.monotonic() - begun)
    return judge(readings[-1], max(took))


def judge(reading: BoardReading, slowest_s: float) -> Result:
    """What is wrong with a reading of a Jetson at rest that took this long."""
    nearest = reading.nearest()
    wrong = {
        "no release": reading.release is None,
        "no power mode": reading.power_mode is None,
        "no temperature": nearest is None,
        "no rail says its power": not any(watts is not None for watts in reading.power_w.values()),
        "no GPU load": reading.gpu_load is None,
        "no GPU clock": reading.clocks_mhz.get("gpu") is None,
        "no over-current counters": not reading.throttle_events,
        f"less than {ROOM_C:g} C below its limit at rest": nearest is not None and nearest[1] < ROOM_C,
        f"held back at rest: {', '.join(reading.throttled)}": bool(reading.throttled),
        f"cannot be believed: {'; '.join(reading.problems)}": bool(reading.problems),
        f"a reading took {slowest_s:.2f} s": slowest_s > SLOWEST_S,
    }
    figures = {
        "slowest reading ms": round(slowest_s * 1e3, 1),
        "off": [name for name, zone in reading.zones.items() if zone.temperature_c is None],
        **({nearest[0]: f"{nearest[1]:.1f} C below its limit"} if nearest else {}),
        **{f"{rail} W": watts for rail, watts in reading.power_w.items()},
    }
    faults = [text for text, so in wrong.items() if so]
    if faults:
        return failed("; ".join(faults), **figures)
    return passed(f"{len(reading.zones)} zones, {len(reading.power_w)} rails, mode {reading.power_mode}", **figures)
