"""The driver leaves the device while it streams, and comes back: `device_gone`, then live, by the same process."""

from __future__ import annotations

from tools.twin.guest.twin import Twin


def run(twin: Twin) -> None:
    twin.start()
    gone_ns = twin.hdmi.unbind()
    twin.took("to device_gone, s", gone_ns, twin.wait_for("device_gone"))
    back_ns = twin.hdmi.bind()
    twin.took("to live, s", back_ns, twin.wait_for("live"))
