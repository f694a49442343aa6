"""`LiveSource` over real GStreamer: what a loop gets from good, bad and broken feeds, and from which part of them."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from edge.capture import test as patterns
from edge.types import Frame, Gap, SignalState
from tests.support.live_loop import RAW, SIZE, SNOW, Loop

_Is = SignalState


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
    monkeypatch.setattr("edge.capture.evidence.RETRY_NS", (10**7,))  # the waits themselves are test_signal_storms'
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
