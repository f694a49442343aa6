"""Every call on the device fails with ENODEV until all handles are closed: the box lets go of it, and is live again."""

from __future__ import annotations

from tools.twin.guest.twin import Twin


def run(twin: Twin) -> None:
    twin.start()
    gone_ns = twin.hdmi.vanish()
    twin.took("to device_gone, s", gone_ns, twin.wait_for("device_gone"))
    twin.took("to live, s", gone_ns, twin.wait_for("live"))
