"""`LiveSource` over real GStreamer: what a loop gets from good, bad and broken feeds.

The machine may be busy: these wait for states with long deadlines, and assert on what came, never on how fast.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.capture import gst
from edge.capture import test as patterns
from edge.capture.evidence import Link
from edge.capture.inputs import Feed, LiveConfig, Reading, Stream
from edge.capture.live import LiveSource
from edge.types import Frame, Gap, SignalState

SIZE = (64, 64)
PATIENCE_S = 40
_Is = SignalState
RAW = "video/x-raw,width=160,height=128,framerate=25/1"
SNOW = f"videotestsrc is-live=true pattern=snow ! {RAW}"


class Loop:
    """Pulls, releases, and remembers what came."""

    def __init__(self, source: LiveSource) -> None:
        self.source = source
        self.states: list[SignalState] = []
        self.details: list[str] = []
        self.frames = 0
        self.last: np.ndarray | None = None
        self.media_ns: list[int] = []

    def step(self) -> Frame | Gap:
        item = self.source.next(0.1)
        self.media_ns.append(item.media_ns)
        if isinstance(item, Gap):
            if not self.states or self.states[-1] is not item.state:
                self.states.append(item.state)
                self.details.append(item.detail)
        else:
            if not self.states or self.states[-1] is not _Is.LIVE:
                self.states.append(_Is.LIVE)
                self.details.append("")
            self.frames += 1
            self.last = np.array(item.image)
            item.release()
        return item

    def until(self, reached: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            self.step()
            assert time.monotonic() < deadline, f"{self.states} {self.details[-1:]} {self.source.stats()}"

    def until_state(self, state: SignalState) -> None:
        begun = len(self.states)
        self.until(lambda: state in self.states[begun:])

    def until_frames(self, count: int) -> None:
        wanted = self.frames + count
        self.until(lambda: self.frames >= wanted)


@pytest.fixture
def opened() -> Iterator[Callable[..., Loop]]:
    sources: list[LiveSource] = []

    def make(description: str | Any, fps: float = 0.0, **config: object) -> Loop:
        one = description
        if isinstance(description, str):
            one = Stream("a test", Feed(description, {}, "", fps), first_s=20.0)
        source = LiveSource(one, LiveConfig(**{"field": "whole", **config}), SIZE)  # type: ignore[arg-type]
        sources.append(source)
        return Loop(source)

    yield make
    for source in sources:
        source.close()


def test_live(opened: Callable[..., Loop]) -> None:
    loop = opened(SNOW)
    loop.until_frames(10)
    assert loop.states == [_Is.STARTING, _Is.LIVE] or loop.states == [_Is.LIVE]
    assert loop.last is not None
    assert loop.last.shape == (64, 64, 4)
    assert loop.last.std() > 20
    assert loop.media_ns == sorted(loop.media_ns)
    assert loop.source.stats().host_copies == 0
    assert loop.source.stats().rebuilds == 0


@pytest.mark.parametrize(
    ("pattern", "state"),
    [
        ("black", _Is.BLACK),
        ("smpte", _Is.BARS),
        ("smpte100", _Is.BARS),
        ("blue", _Is.PROTECTED_SUSPECT),
        ("checkers-8", _Is.FROZEN),
        ("gradient", _Is.FROZEN),
    ],
)
def test_placeholders_are_states_and_never_frames(
    opened: Callable[..., Loop], pattern: str, state: SignalState
) -> None:
    loop = opened(SNOW.replace("snow", pattern))
    loop.until_state(state)
    stats = loop.source.stats()
    assert loop.frames == stats.frames == 0
    assert stats.withheld + stats.repeated > 0
    assert stats.rebuilds == 0
    assert loop.details[-1].startswith("a test: ")


def test_live_then_frozen_then_live(opened: Callable[..., Loop]) -> None:
    """Three kinds of content in one stream of equal caps, as a frozen tower sends it."""
    parts = " ".join(
        f"videotestsrc is-live=true pattern={pattern} num-buffers={count} ! {RAW} ! join."
        for pattern, count in (("snow", 40), ("checkers-8", 60), ("snow", 100000))
    )
    loop = opened(f"concat name=join {parts} join. ! identity")
    loop.until_state(_Is.LIVE)
    loop.until_state(_Is.FROZEN)
    before = loop.frames
    assert isinstance(loop.step(), Gap) or loop.frames > before  # still frozen, or live again
    loop.until_state(_Is.LIVE)
    loop.until_frames(5)
    assert loop.source.stats().rebuilds == 0
    assert loop.source.stats().repeated > 5


def test_twenty_five_in_fifty_is_live_and_never_frozen(opened: Callable[..., Loop]) -> None:
    loop = opened(f"{SNOW} ! videorate ! video/x-raw,framerate=50/1", fps=50.0)
    loop.until(lambda: loop.frames > 40 and loop.source.stats().repeated > 10)
    assert _Is.FROZEN not in loop.states


def test_more_pictures_than_the_format_says_are_unsupported(opened: Callable[..., Loop]) -> None:
    slow = "videotestsrc pattern=snow ! video/x-raw,width=32,height=32,framerate=10/1"
    loop = opened(f"{slow} ! identity sleep-time=10000")  # us: up to 100 a second
    loop.until_state(_Is.UNSUPPORTED)
    assert "the format says 10" in loop.details[-1]
    seen = loop.source.stats().frames
    for _ in range(5):
        assert isinstance(loop.step(), Gap)
    assert loop.source.stats().frames == seen


# ------------------------------------------------------------------------------------------- broken feeds


def test_a_stream_that_ends_is_taken_up_again(opened: Callable[..., Loop]) -> None:
    loop = opened(SNOW.replace("snow", "snow num-buffers=12"))
    loop.until(lambda: loop.source.stats().rebuilds >= 2)
    assert any("the stream ended" in detail for detail in loop.details)
    assert _Is.LIVE in loop.states


@pytest.mark.parametrize(
    ("description", "says"),
    [
        (f"{SNOW} ! identity error-after=10", "Failed after iterations as requested"),
        ("fakesrc num-buffers=3 ! video/x-raw,width=64,height=64", ""),
        ("nosuchelement ! identity", "nosuchelement"),
        ("videotestsrc ! video/x-raw,format=RGB ! h264parse", "could not link"),
    ],
    ids=["error", "not negotiated", "missing", "cannot link"],
)
def test_a_pipeline_that_breaks_is_said_and_storms_end(
    opened: Callable[..., Loop], description: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.capture.evidence.RETRY_NS", (10**7,))  # the waits themselves are test_signal's
    loop = opened(description)
    loop.until_state(_Is.FAILED)
    assert "6 faults within a minute, the last: " in loop.details[-1]
    assert says in loop.details[-1]
    assert "\n" not in loop.details[-1]
    builds = loop.source.stats().rebuilds
    for _ in range(5):
        loop.step()
    assert loop.source.stats().rebuilds == builds
    assert all(state in (_Is.STARTING, _Is.LIVE, _Is.FAILED) for state in loop.states)


def test_a_feed_that_falls_silent(opened: Callable[..., Loop]) -> None:
    """A driver hangs, and says nothing: pictures stop, the pipeline goes on."""
    loop = opened(f"{SNOW} ! valve name=source")
    loop.until_state(_Is.LIVE)
    pipeline = loop.source._pipeline
    assert pipeline is not None
    pipeline._element("source").set_property("drop", True)
    loop.until_state(_Is.NO_SIGNAL)
    assert loop.details[-1].startswith("a test: no picture for 1")
    loop.until_state(_Is.LIVE)  # by a new pipeline, whose valve is open
    assert loop.source.stats().rebuilds >= 1


# ----------------------------------------------------------------------------------------- driver's words


class Cable:
    """An input whose driver knows everything, with a format that can be changed, and a cable to pull."""

    name = "a cable"
    first_s = 20.0

    def __init__(self, size: tuple[int, int] = (160, 128)) -> None:
        self.link, self.size, self.opened, self.closed = Link.LOCKED, size, 0, False

    @property
    def format(self) -> str:
        return f"{self.size[0]}x{self.size[1]}p25"

    def read(self, pipeline: gst.Pipeline | None) -> Reading:
        return Reading(self.link, self.format if self.link is Link.LOCKED else "")

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def open(self) -> Feed:
        self.opened += 1
        caps = f"video/x-raw,width={self.size[0]},height={self.size[1]},framerate=25/1"
        return Feed(f"videotestsrc is-live=true pattern=snow ! {caps}", {}, self.format, 25.0)

    def close(self) -> None:
        self.closed = True


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


# --------------------------------------------------------------------------------- counters, leases, field


def test_every_picture_is_accounted_for(opened: Callable[..., Loop]) -> None:
    loop = opened(f"{SNOW} ! videorate ! video/x-raw,framerate=50/1", fps=50.0)
    loop.until_frames(10)
    for _ in range(4):
        time.sleep(0.12)  # the slow loop itself
        loop.step()
    loop.until(lambda: loop.source.stats().dropped > 5)
    loop.source._stop()
    received, stats = loop.source._received, loop.source.stats()
    assert stats.frames + stats.repeated + stats.withheld + stats.dropped == received
    assert stats.frames == loop.frames


def test_leases(opened: Callable[..., Loop]) -> None:
    source = opened(SNOW).source

    def frame() -> Frame:
        while not isinstance(item := source.next(1.0), Frame):
            pass
        return item

    first = frame()
    second = frame()  # the first was not given back: the source takes it
    assert source._lent is not None
    lent = source._lent
    first.release()
    assert source._lent is lent  # and its late return does not take the second
    second.release()
    second.release()
    assert source._lent is None
    third = frame()
    source.close()
    third.release()


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


def test_nothing_is_handed_out_before_the_layout_is_known(opened: Callable[..., Loop]) -> None:
    """A tower's picture: black, the endoscope's at the right, something bright and thin at the left."""
    big = "video/x-raw,format=I420,width=320,height=256,framerate=25/1"
    scope = "videotestsrc is-live=true pattern=snow ! video/x-raw,width=200,height=200,framerate=25/1"
    name = "videotestsrc is-live=true pattern=white ! video/x-raw,width=60,height=4,framerate=25/1"
    loop = opened(
        f"compositor name=screen background=black sink_0::xpos=100 sink_0::ypos=28 sink_1::xpos=6 sink_1::ypos=20"
        f" {scope} ! screen. {name} ! screen. screen. ! {big}",
        field="auto",
    )
    loop.until_state(_Is.STARTING)
    loop.until(lambda: loop.source._finder is not None)
    assert loop.frames == 0
    loop.until_frames(3)
    field = loop.source._crop.field
    assert field is not None
    got = np.array([field.x, field.y, field.x + field.width, field.y + field.height])
    assert np.abs(got - (100, 28, 300, 228)).max() <= 6
    assert _Is.UNKNOWN_LAYOUT not in loop.states
    assert loop.source.stats().withheld >= 10
    assert loop.last is not None
    assert loop.last[:, :, :3].mean() > 60


def test_no_field_is_an_unknown_layout_and_no_frame(
    opened: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.capture.layout.GIVE_UP_NS", 10**9)
    small = "videotestsrc is-live=true pattern=snow ! video/x-raw,width=40,height=40,framerate=25/1"
    loop = opened(f"{small} ! videobox autocrop=true ! video/x-raw,width=320,height=256", field="auto")
    loop.until_state(_Is.UNKNOWN_LAYOUT)
    for _ in range(5):
        loop.step()
    assert loop.frames == 0


def test_the_test_source_is_live_as_it_comes() -> None:
    source = patterns.open(patterns.Config(width=160, height=128), SIZE)
    loop = Loop(source)
    try:
        loop.until_frames(3)
        field = source._crop.field
        assert field is not None
        assert (field.width, field.height) == (160, 128)
    finally:
        source.close()
