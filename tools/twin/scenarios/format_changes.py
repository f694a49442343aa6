"""From 720p60 to 1080p60, to 1080i50 and back: a new pipeline each time, and live again."""

from __future__ import annotations

from tools.twin.guest.twin import Twin, expect
from tools.twin.guest.vivid import FULL_HD, FULL_HD_INTERLACED, HD

CHANGES = {"1080p60": FULL_HD, "1080i50": FULL_HD_INTERLACED, "720p60": HD}


def run(twin: Twin) -> None:
    twin.start(timings=HD)
    for place, (words, timings) in enumerate(CHANGES.items(), start=1):
        changed_ns = twin.hdmi.timings(timings)
        twin.took("to format_changed, s", changed_ns, twin.wait_for("format_changed"))
        twin.took(f"to live at {words}, s", changed_ns, twin.wait_for("live"))
        status = twin.wait_for_frames()
        expect(status.source.rebuilds >= place, f"{status.source.rebuilds} rebuilds after {place} changes")
    twin.expect_sequence("live", *(state for _ in CHANGES for state in ("format_changed", "live")))
