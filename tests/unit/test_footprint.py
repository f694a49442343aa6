"""The figures of tools/footprint.py are the kernel's."""

from __future__ import annotations

import os

import pytest

from edge.status import rss_bytes
from tools import footprint

TAKEN = 64 << 20


def test_what_a_process_takes_is_seen_and_its_peak_stays() -> None:
    before = footprint.memory(os.getpid())
    held = bytearray(os.urandom(1 << 20) * 64)
    during = footprint.memory(os.getpid())
    assert len(held) == TAKEN
    assert during.rss - before.rss > 0.9 * TAKEN
    assert during.pss - before.pss > 0.9 * TAKEN
    assert abs(during.rss - rss_bytes()) < 8 << 20
    del held
    assert footprint.memory(os.getpid()).peak >= during.rss - (1 << 20)


def test_no_such_process() -> None:
    with pytest.raises(OSError, match="smaps_rollup"):
        footprint.memory(2**22 + 1)
