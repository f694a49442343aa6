"""Each row of the line's, the broker's and the clock's faults, a few rounds; and that the rig sees a loss.

`ENDOEDGE_SEED` repeats one.
"""

from __future__ import annotations

import importlib
import os
import random
from pathlib import Path

import pytest

ROWS = (
    "acl_denied",
    "broker_killed",
    "broker_stopped",
    "cable_out",
    "certificate_expired",
    "clock_jumps",
    "slow_lossy_line",
    "uplink_disk_stalls",
)
SEED = int(os.environ.get("ENDOEDGE_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)


@pytest.mark.parametrize("name", ROWS)
def test_a_few_rounds(name: str, tmp_path: Path) -> None:
    row = importlib.import_module(f"tools.faults.rows.{name}")
    if why := row.missing():
        pytest.skip(why)
    print(f"seed {SEED}")
    assert list(row.play(tmp_path, row.FEW, random.Random(SEED))) == [""] * row.FEW


def test_an_uplink_that_forgets_what_it_has_sent_is_seen(tmp_path: Path) -> None:
    row = importlib.import_module("tools.faults.rows.broker_killed")
    if why := row.missing():
        pytest.skip(why)
    rounds = row.control(tmp_path, 10, random.Random(SEED))
    assert next(said for said in rounds if said).startswith("lost: ")
    rounds.close()
