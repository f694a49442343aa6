"""Fixtures of several files."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder to which heads can be added."""
    pytest.importorskip("torch", reason="the calibration extra is not installed")
    from tests.support.bare import written

    return written(tmp_path_factory.mktemp("model"))
