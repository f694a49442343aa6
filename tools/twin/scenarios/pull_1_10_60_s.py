"""The cable is pulled for 1 s, 10 s and 60 s: `no_signal` each time, and `live` again with the same process."""

from __future__ import annotations

from tools.twin.guest.twin import Twin


def run(twin: Twin) -> None:
    twin.start()
    for seconds in (1, 10, 60):
        twin.say(f"pulled for {seconds} s")
        pulled_ns = twin.hdmi.pull()
        lost = twin.wait_for("no_signal")
        twin.took("to no_signal, s", pulled_ns, lost)
        twin.stays(pulled_ns + seconds * 10**9)
        plugged_ns = twin.hdmi.plug()
        twin.took(f"to live after {seconds} s, s", plugged_ns, twin.wait_for("live"))
    twin.expect_sequence("live", *(state for _ in range(3) for state in ("no_signal", "live")))
