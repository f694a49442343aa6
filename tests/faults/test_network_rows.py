"""Each row of the line's faults, a round or two; `tools/faults.sh` plays them all.

`ENDOEDGE_SEED` repeats one.
"""

from __future__ import annotations

import importlib
import os
import random
from pathlib import Path

import pytest

ROWS = ("acl_denied", "broker_killed", "broker_stopped")
SEED = int(os.environ.get("ENDOEDGE_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str, tmp_path: Path) -> None:
    row = importlib.import_module(f"tools.faults.rows.{name}")
    if why := row.missing():
        pytest.skip(why)
    print(f"seed {SEED}")
    assert list(row.play(tmp_path, 2, random.Random(SEED))) == ["", ""]
