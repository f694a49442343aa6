"""A format that the receiver cannot capture is `unsupported`, and live again when the tower sends a better one."""

from __future__ import annotations

from tools.twin.guest.twin import Twin
from tools.twin.guest.vivid import OUT_OF_RANGE


def run(twin: Twin) -> None:
    twin.start()
    lost_ns = twin.hdmi.signal(OUT_OF_RANGE)
    twin.took("to unsupported, s", lost_ns, twin.wait_for("unsupported"))
    back_ns = twin.hdmi.plug()
    twin.took("to live, s", back_ns, twin.wait_for("live"))
    twin.expect_sequence("live", "unsupported", "live")
