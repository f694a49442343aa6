"""720×576 interlaced, which this receiver sees but will not capture, is `unsupported`, and live at a better one."""

from __future__ import annotations

from tools.twin.guest.twin import Twin
from tools.twin.guest.vivid import HD, PAL


def run(twin: Twin) -> None:
    twin.start()
    changed_ns = twin.hdmi.timings(PAL)
    twin.took("to unsupported, s", changed_ns, twin.wait_for("unsupported"))
    back_ns = twin.hdmi.timings(HD)
    twin.took("to live, s", back_ns, twin.wait_for("live"))
