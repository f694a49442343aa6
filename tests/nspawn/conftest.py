"""One box for all tests of this folder; each finds it ready."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.capture import phantom
from tests.nspawn import machine
from tests.nspawn.machine import Machine


@pytest.fixture(scope="session")
def film(pytestconfig: pytest.Config) -> Path:
    """The phantom's cache with the clip that a box plays: rendering takes as long as playing."""
    if reason := machine.missing():
        pytest.skip(reason)
    assert pytestconfig.cache is not None
    cache = pytestconfig.cache.mkdir("phantom")
    phantom.prepare(phantom.Config(seconds=6, fps=5, width=320, height=256, cache_dir=str(cache)))
    return cache


@pytest.fixture(scope="session")
def booted(tmp_path_factory: pytest.TempPathFactory, film: Path) -> Iterator[Machine]:
    with machine.running(tmp_path_factory.mktemp("box"), film) as box:
        yield box


@pytest.fixture
def box(booted: Machine) -> Machine:
    if not booted.as_it_should_be():
        booted.reset()
    return booted
