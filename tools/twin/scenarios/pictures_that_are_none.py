"""The cable holds but what comes is no picture of now: frozen, colour bars, black, one colour; then a picture again."""

from __future__ import annotations

from tools.twin.guest.twin import Twin
from tools.twin.guest.vivid import BARS, BLACK, BLUE, MOVING, STILL

PICTURES = {"frozen": STILL, "bars": BARS, "black": BLACK, "protected_suspect": BLUE}


def run(twin: Twin) -> None:
    twin.start()
    for state, picture in PICTURES.items():
        twin.say(f"what comes is {state}")
        shown_ns = twin.hdmi.show(picture)
        twin.took(f"to {state}, s", shown_ns, twin.wait_for(state))
        moving_ns = twin.hdmi.show(MOVING)
        twin.took(f"to live after {state}, s", moving_ns, twin.wait_for("live"))
    twin.expect_sequence("live", *(said for state in PICTURES for said in (state, "live")))
