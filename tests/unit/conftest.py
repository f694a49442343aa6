"""Fixtures of several files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tuf_repository import Repository
from tests.support.update_box import Place


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder to which heads can be added."""
    pytest.importorskip("torch", reason="the calibration extra is not installed")
    from tests.support.bare import written

    return written(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=[True, False], ids=["digests", "versions"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A repository of releases, whose metadata name each other by digest, or by version alone."""
    made = Place(tmp_path, Repository(hashes=request.param))
    made.release("1.2.0")
    return made


@pytest.fixture
def plain(tmp_path: Path) -> Place:
    """... by digest."""
    made = Place(tmp_path)
    made.release("1.2.0")
    return made
