"""Waiting for what other threads and processes do. Only a failure comes to the limit."""

from __future__ import annotations

import time
from collections.abc import Callable

WITHIN_S = 60.0


def wait_for(condition: Callable[[], object], what: str, within_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.01)
