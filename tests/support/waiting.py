"""Waiting for what other threads and processes do. Only a failure comes to the limit."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.types import Frame, Gap, Source

WITHIN_S = 60.0


def wait_for(condition: Callable[[], object], what: str, within_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.01)


def next_that(source: Source, reached: Callable[[Frame | Gap], bool]) -> Frame | Gap:
    """The first moment of which that is true; frames before it are given back."""
    deadline = time.monotonic() + WITHIN_S
    while not reached(item := source.next(0.1)):
        if isinstance(item, Frame):
            item.release()
        assert time.monotonic() < deadline, f"{item} {source.stats()}"
    return item
