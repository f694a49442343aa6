"""Fixtures of several files. What they need is imported when they are used: not every machine has all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.fake_cuda import FakeCuda
    from tests.support.fake_nvmm import FakeSurfaces
    from tests.support.fake_v4l2 import Clock, Driver
    from tests.support.live_loop import Loop


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """What is behind the capture device's name."""
    from tests.support import fake_v4l2

    return fake_v4l2.install(monkeypatch)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """`time` as v4l2.py has it."""
    from edge.capture import v4l2
    from tests.support.fake_v4l2 import Clock

    made = Clock()
    monkeypatch.setattr(v4l2, "time", made)
    return made


@pytest.fixture
def opened() -> Iterator[Callable[..., Loop]]:
    """Opens a live source as `live_loop.opened` does, and closes it in the end."""
    from tests.support import live_loop

    loops: list[Loop] = []

    def make(*what: Any, **options: Any) -> Loop:
        loops.append(live_loop.opened(*what, **options))
        return loops[-1]

    yield make
    for loop in loops:
        loop.source.close()


@pytest.fixture
def surfaces(cuda: FakeCuda) -> Iterator[FakeSurfaces]:
    """A Jetson's libnvbufsurface and `nvvidconv`, and our kernel done at once for a whole picture."""
    from tests.support import fake_nvmm, ptx
    from tests.support.fake_nvmm import nvvidconv

    ptx.teach_blacken(cuda)
    for fake in fake_nvmm.started():
        with nvvidconv.registered(fake):
            yield fake
