"""A loss that the driver reports is said within two frame times, at a rate that an emulated processor keeps up with."""

from __future__ import annotations

from tools.twin.guest.twin import Twin, expect
from tools.twin.guest.vivid import HD_25

PULLS = 10
FRAME_S = 1 / 25


def run(twin: Twin) -> None:
    twin.start(timings=HD_25)
    for _ in range(PULLS):
        pulled_ns = twin.hdmi.pull()
        lost_s = twin.took("to no_signal: worst, s", pulled_ns, twin.wait_for("no_signal"))
        expect(lost_s <= 2 * FRAME_S, f"the loss was said after {lost_s:.3f} s, two frame times are {2 * FRAME_S:.3f}")
        plugged_ns = twin.hdmi.plug()
        twin.took("to live: worst, s", plugged_ns, twin.wait_for("live"))
