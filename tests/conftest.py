"""Fixtures of all folders."""

from __future__ import annotations

import importlib.util
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


_HAS_SERVER = importlib.util.find_spec("fastapi") is not None
_OF_THE_SERVER = ["server", "export", "words", "learn", "finetune", "unit/test_server_docs.py"]
collect_ignore = [] if _HAS_SERVER else _OF_THE_SERVER


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _HAS_SERVER:
        left_out = "the report server's tests are left out: its extra is not installed (it needs Python 3.11 or later)"
        terminalreporter.write_line(left_out)


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
