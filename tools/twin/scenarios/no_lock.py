"""A signal that the receiver cannot lock to is `unstable`, and live again when it holds."""

from __future__ import annotations

from tools.twin.guest.twin import Twin
from tools.twin.guest.vivid import NO_LOCK


def run(twin: Twin) -> None:
    twin.start()
    lost_ns = twin.hdmi.signal(NO_LOCK)
    twin.took("to unstable, s", lost_ns, twin.wait_for("unstable"))
    back_ns = twin.hdmi.plug()
    twin.took("to live, s", back_ns, twin.wait_for("live"))
    twin.expect_sequence("live", "unstable", "live")
