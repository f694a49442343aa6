"""The driver breaks in mid-stream, and once more when the next stream should start: live again, by the same process."""

from __future__ import annotations

from tools.twin.guest.twin import Twin


def run(twin: Twin) -> None:
    twin.start()
    twin.hdmi.press("inject_vidioc_streamon_error")  # the next start fails ...
    broken_ns = twin.hdmi.press("inject_fatal_streaming_error")  # ... and this stream breaks now
    twin.say("stream broken, the next start refused")
    twin.wait_for_loss()
    twin.took("to live, s", broken_ns, twin.wait_for("live"))
    twin.wait_for_frames()
