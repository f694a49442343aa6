"""Fixtures of all folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import edge  # noqa: F401  (before anything imports ONNX Runtime: see there)

if TYPE_CHECKING:
    from edge.memory import gpu
    from tests.support.broker import Broker
    from tests.support.fake_cuda import FakeCuda
    from tests.support.fake_tensorrt import Fake


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    """A CUDA driver in C under the real bindings, and it knows our kernel; afterwards nothing may be left that was
    lent."""
    from edge.memory.blacken import PTX
    from tests.support import fake_cuda, ptx

    for started in fake_cuda.started():
        ptx.teach(started, PTX, "blacken")
        yield started


@pytest.fixture
def device(cuda: FakeCuda) -> Iterator[gpu.Device]:
    from edge.memory import gpu

    opened = gpu.Device.open()
    yield opened
    opened.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real mosquitto on a free port."""
    from tests.support.broker import Broker

    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda) -> Fake:
    from tests.support import fake_tensorrt

    return fake_tensorrt.install(monkeypatch, cuda)
