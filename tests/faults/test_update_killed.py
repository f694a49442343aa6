"""The update client is killed, at every step and at random: it holds one set of metadata, whole, and a bundle goes on.

`python -m tests.support.update_torture 60` does the same sixty times each.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support import update_torture

KILLS = 8
SEED = random.SystemRandom().randrange(1, 1_000_000)


@pytest.mark.parametrize("broken", [False, True], ids=["whole", "the root alone comes"])
def test_at_each_step_of_a_check(tmp_path: Path, broken: bool) -> None:
    found = update_torture.steps(tmp_path, broken=broken)
    assert found["steps"] > 20
    assert found["old"] > 0 < found["new"]


def test_at_random_while_releases_are_published(tmp_path: Path) -> None:
    found = update_torture.checks(tmp_path, KILLS, SEED)
    assert found["newest"] > 0, SEED


def test_a_download_repeats_less_than_a_megabyte(tmp_path: Path) -> None:
    found = update_torture.bundle(tmp_path, KILLS, SEED)
    assert found.kills == KILLS
    assert 0 < found.most <= 1_000_000, (found, SEED)
