"""`LiveSource` over real GStreamer: formats that change, cables that are pulled, pipelines that come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.capture import gst
from edge.capture.evidence import Link
from edge.types import Frame, SignalState
from tests.support.live_loop import PATIENCE_S, Cable, Loop

_Is = SignalState


@pytest.mark.parametrize(
    "field", ["whole", [(0.0, 0.0), (100.0, 0.0), (100.0, 96.0), (0.0, 96.0)]], ids=["whole", "fixed"]
)
def test_a_change_of_format_is_a_new_pipeline(opened: Callable[..., Loop], field: object) -> None:
    cable = Cable((320, 240))
    loop = opened(cable, field=field)
    loop.until_frames(3)
    for size in ((160, 128), (320, 256), (120, 96)):
        cable.size = size
        item = loop.step()
        while isinstance(item, Frame):
            item = loop.step()
        assert item.state is _Is.FORMAT_CHANGED
        assert f"became {size[0]}x{size[1]}p25" in item.detail
        loop.until_frames(3)
        frame = loop.source._crop.field
        assert frame is not None
        assert (frame.width, frame.height) == (size if field == "whole" else (100, 96))
    assert _Is.FAILED not in loop.states


def test_corners_that_the_new_format_has_not_are_an_unknown_layout(opened: Callable[..., Loop]) -> None:
    cable = Cable((320, 240))
    loop = opened(cable, field=[(0.0, 0.0), (300.0, 0.0), (300.0, 200.0), (0.0, 200.0)])
    loop.until_frames(3)
    cable.size = (160, 128)
    frames = loop.frames
    loop.until_state(_Is.UNKNOWN_LAYOUT)
    assert "capture.field: expected at least 3 corners within 160x128" in loop.details[-1]
    assert loop.frames == frames
    assert _Is.FAILED not in loop.states
    cable.size = (320, 240)
    loop.until_frames(3)


def test_the_pipelines_own_caps_may_change_too(opened: Callable[..., Loop]) -> None:
    """No driver says it, the pictures do."""
    parts = " ".join(
        f"videotestsrc is-live=true pattern=snow num-buffers={count} !"
        f" video/x-raw,width={width},height=96,framerate=25/1 ! join."
        for width, count in ((128, 40), (192, 100000))
    )
    loop = opened(f"concat name=join {parts} join. ! identity")
    loop.until_state(_Is.LIVE)
    loop.until_state(_Is.FORMAT_CHANGED)
    assert "128x96" in loop.details[-1]
    assert "192x96" in loop.details[-1]


def test_a_loss_is_said_before_the_pipeline_is_taken_down(
    opened: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes a moment, and seconds where a driver hangs."""
    cable = Cable()
    loop = opened(cable)
    loop.until_frames(1)
    known: list[list[SignalState]] = []
    close = gst.Pipeline.close
    monkeypatch.setattr(gst.Pipeline, "close", lambda self: (known.append(list(loop.states)), close(self)))
    cable.link = Link.NO_SIGNAL
    loop.until(lambda: known)
    assert known[0][-1] is _Is.NO_SIGNAL


def test_thirty_rebuilds_leave_nothing_behind(opened: Callable[..., Loop]) -> None:
    cable = Cable()
    loop = opened(cable)
    loop.until_frames(2)

    def pull() -> None:
        cable.link = Link.NO_SIGNAL
        loop.until_state(_Is.NO_SIGNAL)
        loop.until(lambda: loop.source._pipeline is None)
        cable.link = Link.LOCKED
        loop.until_frames(1)

    def change() -> None:
        cable.size = (160, 128) if cable.size == (128, 96) else (128, 96)
        loop.until_state(_Is.FORMAT_CHANGED)
        loop.until_frames(1)

    for trouble in (pull, change):
        trouble()
    before = held()
    for trouble in [pull, *[change] * 7] * 4:
        trouble()
    grown = np.subtract(held(), before)
    assert (grown <= 2).all(), f"file descriptors, threads: {grown}"
    assert loop.source.stats().rebuilds >= 30
    assert cable.opened == loop.source.stats().rebuilds + 1


def held() -> tuple[int, int]:
    """Open file descriptors, threads of this process."""
    here = Path("/proc/self")
    return len(list((here / "fd").iterdir())), len(list((here / "task").iterdir()))


def test_closing_is_bounded_when_the_driver_hangs(opened: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gst, "CLOSE_WITHIN_S", 0.2)
    cable = Cable()
    loop = opened(cable)
    loop.until_frames(1)
    pipeline = loop.source._pipeline
    assert pipeline is not None
    real, release, hung = pipeline._pipeline, threading.Event(), threading.Event()

    class Hanging:
        def set_state(self, state: object) -> None:
            hung.set()
            release.wait(PATIENCE_S)
            real.set_state(state)

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    pipeline._pipeline = Hanging()
    begun = time.monotonic()
    loop.source.close()
    assert time.monotonic() - begun < 10
    assert hung.is_set()
    assert cable.closed
    release.set()
