"""The power goes at random moments, again and again, while the box goes from release to release: each time it comes
up with a whole release, byte for byte one that was signed; and at the end with the newest, held."""

from __future__ import annotations

import subprocess
import time

from tools.twin.guest import switching, updates
from tools.twin.guest.twin import Twin

UPDATES = "http"
CAMERA = False  # an emulated machine boots in half the time
LIMIT_S = 3600.0
_LOOK_S, _AGAIN_S = 0.3, 20.0


def run(twin: Twin) -> None:
    """Until the power goes: agrees to whatever is offered. When that is is the host's (tools/twin/ota_killed.py), and
    at the end it goes, too."""
    twin.say("agrees to whatever is offered")
    asked: subprocess.Popen[bytes] | None = None
    agreed, asked_s = "", -_AGAIN_S
    while True:
        known = updates.memory()
        offered = known.offer.version if known and known.offer else ""
        free = asked is None or asked.poll() is not None
        if free and offered not in ("", agreed):
            asked, agreed = updates.agrees(offered), offered
        elif free and updates.said() is not None and time.monotonic() - asked_s > _AGAIN_S:
            switching.check()
            asked_s = time.monotonic()
        time.sleep(_LOOK_S)
