"""Gives one order as the console does, and prints what came of it. Run in the box, under the console's rules."""

from __future__ import annotations

import sys
import time

from edge.clock import SystemClock
from edge.console.job import Wait
from edge.console.orders import Orders, order, taken
from edge.errors import ConsoleError

if __name__ == "__main__":
    unit, within_s = sys.argv[1], float(sys.argv[2])
    given = order(Orders(), unit, SystemClock(), within_s) if within_s else taken(Orders(), unit, SystemClock())
    try:
        for step in given:
            assert isinstance(step, Wait)
            time.sleep(step.seconds)
    except ConsoleError as exc:
        print(f"failed: {exc}")
    else:
        print("done")
