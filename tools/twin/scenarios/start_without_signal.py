"""The box starts before the tower: it says `no_signal`, waits, and is live when the cable carries a picture."""

from __future__ import annotations

from edge.types import SignalState
from tools.twin.guest.twin import Twin


def run(twin: Twin) -> None:
    twin.start(plugged=False)
    twin.wait_for_status("no_signal", lambda status: status.state is SignalState.NO_SIGNAL)
    plugged_ns = twin.hdmi.plug()
    live = twin.wait_for("live")
    twin.took("to live, s", plugged_ns, live)
    twin.wait_for_frames()
    twin.expect_sequence("no_signal", "live")
