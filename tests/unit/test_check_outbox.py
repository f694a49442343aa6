"""`endoedge check`, typed by root before the service ever ran, leaves it an outbox that it can write."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge.cli import check

SERVICE = 65534  # nobody


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where everybody may go: pytest's own folders are root's alone."""
    made = Path(tempfile.mkdtemp(prefix="endoedge-check-"))
    yield made
    shutil.rmtree(made)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it is root's mistake")
def test_an_outbox_that_root_makes_is_the_services(folder: Path) -> None:
    os.chown(folder, SERVICE, SERVICE)
    folder.chmod(0o770)
    site: Any = SimpleNamespace(
        outbox_path=folder / "outbox.db",
        config=SimpleNamespace(device="box", outbox=SimpleNamespace(max_mib=64)),
    )
    assert "outbox.db" in check._outbox(site)
    assert (os.geteuid(), os.getegid()) == (0, 0)
    made = list(folder.iterdir())
    assert (folder / "outbox.db").stat().st_mode & 0o777 == 0o660  # the uplink, of the same group, deletes in it
    for file in made:
        facts = file.stat()
        assert (facts.st_uid, facts.st_gid) == (SERVICE, SERVICE), file
