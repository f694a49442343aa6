"""The rig itself: vivid is an HDMI input that locks, the broker answers, `endoedge check` is content."""

from __future__ import annotations

import json

from tools.twin.guest import box
from tools.twin.guest.twin import Twin, expect
from tools.twin.guest.vivid import DEVICE


def run(twin: Twin) -> None:
    twin.hdmi.load()
    locked = box.run("v4l2-ctl", "-d", str(DEVICE), "--query-dv-timings")
    expect("Active width: 1280" in locked, f"vivid has no 720p: {locked}")
    expect("HDMI 0: ok" in box.run("v4l2-ctl", "-d", str(DEVICE), "--get-input"), "vivid's input is no HDMI")
    box.write_site()
    said = json.loads(box.run(str(box.COMMAND), "check", "--json", check=False))
    for row in said["checks"]:
        twin.say(f"{row['what']}: {row['found']}")
    expect(said["ok"], "`endoedge check` is not content")
