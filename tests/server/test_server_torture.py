"""A small round of tools/server_torture.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import postgresql
from tests.support.postgresql import PostgreSQL
from tests.support.server_torture import torture


@pytest.mark.skipif(bool(postgresql.missing()), reason=postgresql.missing())
def test_killed_at_random_nothing_is_lost_doubled_or_changed(postgresql_server: PostgreSQL, tmp_path: Path) -> None:
    result = torture(
        tmp_path, boxes=4, procedures=16, kills=2, seed=11, database=postgresql_server.url(), webs=2, workers=2
    )
    print(result)
    assert result.ok, result
    assert sum(result.kills.values()) == 2
