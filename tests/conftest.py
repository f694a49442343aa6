"""Fixtures of all folders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import edge  # noqa: F401  (before anything imports ONNX Runtime: see there)

if TYPE_CHECKING:
    from edge.memory import gpu
    from tests.support.fake_cuda import FakeCuda
    from tests.support.fake_tensorrt import Fake


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    """A CUDA driver in C under the real bindings; afterwards nothing may be left that was lent."""
    from tests.support import fake_cuda

    yield from fake_cuda.started()


@pytest.fixture
def device(cuda: FakeCuda) -> Iterator[gpu.Device]:
    from edge.memory import gpu

    opened = gpu.Device.open()
    yield opened
    opened.close()


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda) -> Fake:
    from tests.support import fake_tensorrt

    return fake_tensorrt.install(monkeypatch, cuda)
