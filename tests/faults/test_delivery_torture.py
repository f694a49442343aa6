"""kill -9 at random: whatever was committed arrives, in order, duplicates only by id.

`ENDOEDGE_KILLS` and `ENDOEDGE_SEED` set how often and from which seed; `tools/torture_delivery.py` does the same for
longer.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Literal

import pytest

from tests.support.broker import missing_tools
from tests.support.torture import torture

KILLS = int(os.environ.get("ENDOEDGE_KILLS", "20"))
SEED = int(os.environ.get("ENDOEDGE_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())


@pytest.mark.timeout(120 + 2 * KILLS)
@pytest.mark.parametrize("confirm", ["broker", "subscriber"])
def test_killed_at_random(tmp_path: Path, confirm: Literal["broker", "subscriber"]) -> None:
    result = torture(tmp_path, kills=KILLS, seed=SEED, confirm=confirm)
    print(result)
    assert result.ok, result
