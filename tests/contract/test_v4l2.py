"""`Receiver` against a node that behaves like each class of driver: what it says, and how it says no."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from edge.capture import edid as edids
from edge.capture import gst, v4l2
from edge.capture import v4l2_ioctl as ioctl
from edge.capture.evidence import Link
from edge.capture.v4l2_ioctl import Mode
from edge.errors import CaptureError

DEVICE = "/dev/video7"
STANDING_IN = Path("/dev/full")  # a device that every machine has, for what somebody else opened
HD60 = (1920, 1080, 148_500_000, 2200, 1125)
HD50 = (1280, 720, 74_250_000, 1980, 750)
HDI50 = (1920, 1080, 74_250_000, 2640, 1125, 1)


@dataclass
class Driver:
    """What is behind the device's name. An int in place of an answer is the errno that comes instead."""

    present: int | None = None  # errno of opening it; None: it opens
    captures: bool = True
    timings: tuple[int, ...] | int = HD60
    status: int = 0
    status_errno: int = 0
    sends_events: bool | int = True
    edid: bytes | int = b""
    edid_refused: int = 0
    modes: list[Mode] = field(default_factory=list)
    inputs: list[str] = field(default_factory=lambda: ["HDMI 1", "HDMI 2"])
    busy: bool = False
    refuses: tuple[str, ...] = ()  # formats that it tells of and does not take

    waiting: int = 0  # events
    gone: bool = False  # under an open node
    opened: int = 0
    closed: int = 0
    asked: int = 0
    selected: int | None = None
    set: list[str] = field(default_factory=list)
    written: list[bytes] = field(default_factory=list)


def fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


class Node:
    """`ioctl.Node` of a `Driver`."""

    driver: Driver

    def __init__(self, path: str) -> None:
        assert path == DEVICE
        if self.driver.present is not None:
            fail(self.driver.present)
        self.driver.opened += 1
        self.device = STANDING_IN.stat().st_rdev
        self._dead = False

    def _check(self) -> None:
        self._dead = self._dead or self.driver.gone
        if self._dead:
            fail(errno.ENODEV)

    def close(self) -> None:
        self.driver.closed += 1

    def captures(self) -> bool:
        self._check()
        return self.driver.captures

    def capability(self) -> ioctl.Capability:
        return ioctl.Capability(card=b"Some Grabber")

    def input(self) -> ioctl.Input:
        self._check()
        if self.driver.status_errno:
            fail(self.driver.status_errno)
        return ioctl.Input(status=self.driver.status)

    def inputs(self) -> list[str]:
        return self.driver.inputs

    def select_input(self, index: int) -> None:
        self.driver.selected = index

    def query_timings(self) -> ioctl.DvTimings:
        self._check()
        self.driver.asked += 1
        if isinstance(self.driver.timings, int):
            fail(self.driver.timings)
        width, height, clock, across, down, *interlaced = self.driver.timings
        bt = ioctl.BtTimings(
            width=width, height=height, pixelclock=clock, hfrontporch=across - width, vfrontporch=down - height
        )
        bt.interlaced = bool(interlaced)
        return ioctl.DvTimings(bt=bt)

    def set_timings(self, timings: ioctl.DvTimings) -> None:
        if self.driver.busy:
            fail(errno.EBUSY)
        if ioctl.describe(timings) in self.driver.refuses:
            fail(errno.EINVAL)
        self.driver.set.append(ioctl.describe(timings))

    def subscribe(self) -> bool:
        if not isinstance(self.driver.sends_events, bool):
            fail(self.driver.sends_events)
        return bool(self.driver.sends_events)

    def wait(self, seconds: float) -> bool:
        return self.driver.waiting > 0

    def events(self) -> int:
        self._check()
        count, self.driver.waiting = self.driver.waiting, 0
        return count

    def edid(self) -> bytes:
        if isinstance(self.driver.edid, int):
            fail(self.driver.edid)
        return bytes(self.driver.edid)

    def set_edid(self, edid: bytes) -> None:
        if self.driver.edid_refused:
            fail(self.driver.edid_refused)
        self.driver.edid = edid
        self.driver.written.append(edid)

    def modes(self) -> Iterator[Mode]:
        yield from self.driver.modes


class Clock:
    """`time` as v4l2.py uses it."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setattr(v4l2.ioctl, "Node", type("OneNode", (Node,), {"driver": made}))
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(v4l2, "time", made)
    return made


def receiver(**options: object) -> v4l2.Receiver:
    return v4l2.Receiver(v4l2.Config(device=DEVICE, **options))  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------- what it says


def test_hdmi_with_events(driver: Driver, clock: Clock) -> None:
    one = receiver()
    assert one.read(None) == (Link.LOCKED, "1920x1080p60")
    asked = driver.asked
    for _ in range(10):
        clock.now += 0.02
        assert one.read(None).link is Link.LOCKED
    assert driver.asked == asked  # nothing happened, nothing is asked
    driver.timings, driver.waiting = errno.ENOLINK, 2
    assert one.read(None) == (Link.NO_SIGNAL, "")
    driver.timings, driver.waiting = HD50, 1
    assert one.read(None) == (Link.LOCKED, "1280x720p50")
    one.close()
    assert driver.opened == driver.closed == 1


def test_an_event_that_never_came_is_noticed_all_the_same(driver: Driver, clock: Clock) -> None:
    one = receiver()
    one.read(None)
    driver.timings = errno.ENOLINK
    clock.now += v4l2.ASK_ANYWAY_S
    assert one.read(None).link is Link.NO_SIGNAL


def test_a_driver_without_events_is_asked_often_enough(driver: Driver, clock: Clock) -> None:
    driver.sends_events = False
    one = receiver()
    one.read(None)
    driver.timings = errno.ENOLINK
    waited = clock.now
    while one.read(None).link is Link.LOCKED:
        one.wait(0.02)
    assert clock.now - waited <= 0.5


@pytest.mark.parametrize(
    ("timings", "link"),
    [
        (errno.ENOLINK, Link.NO_SIGNAL),
        (errno.ENOLCK, Link.UNLOCKED),
        (errno.ERANGE, Link.OUT_OF_RANGE),
        (errno.ENODEV, Link.GONE),
        (errno.ENXIO, Link.GONE),
        (errno.EIO, Link.UNKNOWN),
    ],
)
def test_each_answer_of_a_driver(driver: Driver, timings: int, link: Link) -> None:
    driver.timings = timings
    assert receiver().read(None) == (link, "")


@pytest.mark.parametrize(
    ("status", "link"),
    [
        (0, Link.UNKNOWN),
        (0x2, Link.NO_SIGNAL),
        (0x1, Link.NO_SIGNAL),
        (0x100, Link.UNLOCKED),
        (0x10000, Link.UNLOCKED),
        (0x1000000, Link.PROTECTED),
        (0x20, Link.UNKNOWN),  # pictures upside down
    ],
)
@pytest.mark.parametrize("cannot", [errno.ENOTTY, errno.ENODATA, errno.EINVAL])
def test_input_status_speaks_where_timings_do_not(driver: Driver, status: int, link: Link, cannot: int) -> None:
    driver.timings, driver.status = cannot, status
    assert receiver().read(None) == (link, "")


def test_protection_is_said_of_a_locked_signal(driver: Driver) -> None:
    driver.status = ioctl.STATUS_PROTECTED
    assert receiver().read(None).link is Link.PROTECTED


@pytest.mark.parametrize("no_input", [0, errno.ENOTTY, errno.EINVAL])
def test_a_driver_that_knows_nothing_is_no_fault(
    driver: Driver, clock: Clock, no_input: int, caplog: pytest.LogCaptureFixture
) -> None:
    driver.timings, driver.sends_events, driver.edid, driver.status_errno = errno.ENOTTY, False, errno.ENOTTY, no_input
    driver.modes = [Mode("YUYV", 1280, 720, 30.0)]
    one = receiver()
    for _ in range(100):
        assert one.read(None) == (Link.UNKNOWN, "")
        clock.now += 0.02
    assert driver.opened == 1
    feed = one.open()
    assert feed.format == ""
    assert feed.fps == 30
    assert [record.message for record in caplog.records if record.levelname != "INFO"] == []


# ------------------------------------------------------------------------------------------- gone and back


@pytest.mark.parametrize("missing", [errno.ENOENT, errno.ENODEV, errno.ENXIO])
def test_not_there_is_a_state_and_it_is_looked_for(driver: Driver, clock: Clock, missing: int) -> None:
    driver.present = missing
    one = receiver()
    assert one.read(None).link is Link.GONE
    driver.present = None
    begun = clock.now
    while one.read(None).link is Link.GONE:
        one.wait(0.02)
    assert clock.now - begun <= 0.5


def test_unplugged_while_open_and_plugged_in_again(driver: Driver, clock: Clock) -> None:
    """The node that was open stays dead; only a new one knows the device that came back."""
    one = receiver()
    assert one.read(None).link is Link.LOCKED
    for _ in range(5):
        driver.gone = True
        clock.now += 0.02
        assert one.read(None).link is Link.GONE
        driver.gone = False
        clock.now += 1
        assert one.read(None).link is Link.LOCKED
    assert driver.opened - driver.closed == 1
    one.close()
    assert driver.opened == driver.closed


def test_what_gstreamer_keeps_open_is_let_go_of_when_its_pipeline_is_no_more(driver: Driver, clock: Clock) -> None:
    """A device comes back when nobody holds it; v4l2src may hold it for good after ENODEV."""
    one = receiver()
    one.read(None)
    with STANDING_IN.open("wb", buffering=0) as kept:
        driver.gone, driver.present = True, errno.ENODEV
        clock.now += 1
        running = cast(gst.Pipeline, object())
        assert one.read(running).link is Link.GONE
        assert one.read(running).link is Link.GONE
        with pytest.raises(OSError, match="No space"):
            kept.write(b"it streams still, and must not be taken from under the pipeline")
        assert one.read(None).link is Link.GONE
        assert kept.write(b"into nowhere")
    driver.gone, driver.present = False, None
    clock.now += 1
    assert one.read(None).link is Link.LOCKED


def test_a_driver_that_says_enodev_to_one_question_only(driver: Driver, clock: Clock) -> None:
    one = receiver()
    one.read(None)
    driver.timings, driver.waiting = errno.ENODEV, 1
    assert one.read(None).link is Link.GONE
    assert driver.opened == driver.closed
    driver.timings = HD60
    clock.now += 1
    assert one.read(None).link is Link.LOCKED


# ---------------------------------------------------------------------------------------------- open


def test_what_comes_is_set_and_said(driver: Driver) -> None:
    one = receiver()
    feed = one.open()
    assert driver.set == ["1920x1080p60"]
    assert feed.format == one.read(None).format == "1920x1080p60"
    assert feed.fps == pytest.approx(60)
    assert "v4l2src" in feed.description
    assert feed.properties["source"] == {"device": DEVICE}


def refused(driver: Driver, one: v4l2.Receiver) -> str:
    with pytest.raises(CaptureError) as caught:
        one.open()
    text = str(caught.value)
    assert text.startswith(DEVICE)
    assert "\n" not in text
    return text


def test_busy(driver: Driver) -> None:
    driver.busy = True
    assert refused(driver, receiver()) == (
        f"{DEVICE}: cannot be set up: Device or resource busy: another program uses it"
    )


def test_a_format_that_is_told_of_and_refused_is_out_of_range(driver: Driver, clock: Clock) -> None:
    """vivid does so with 576i: its pixel clock is under the least that the same driver names."""
    driver.refuses = ("1920x1080p60",)
    one = receiver()
    with pytest.raises(CaptureError, match="/dev/video7: 1920x1080p60 comes, and its driver cannot capture that"):
        one.open()
    assert one.read(None).link is Link.OUT_OF_RANGE
    driver.timings, driver.waiting = HD50, 1
    assert one.read(None) == (Link.LOCKED, "1280x720p50")
    assert one.open().format == "1280x720p50"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_not_allowed_is_said_when_it_is_opened(driver: Driver, number: int) -> None:
    driver.present = number
    one = receiver()
    assert one.read(None).link is Link.UNKNOWN  # it is there: not gone
    assert os.strerror(number) in refused(driver, one)


def test_a_node_for_metadata(driver: Driver) -> None:
    driver.captures = False
    one = receiver()
    assert one.read(None).link is Link.UNKNOWN
    assert refused(driver, one) == (f"{DEVICE}: Some Grabber takes no pictures at this node; try its other /dev/video*")
    assert driver.opened == driver.closed


def test_signal_lost_between_the_look_and_the_opening(driver: Driver) -> None:
    one = receiver()
    one.read(None)
    driver.timings = errno.ENOLINK
    assert "Link has been severed" in refused(driver, one)
    assert driver.set == []


def test_an_input_that_it_has_not(driver: Driver) -> None:
    assert refused(driver, receiver(input=5)) == f"{DEVICE}: capture.input is 5; it has: 0 HDMI 1, 1 HDMI 2"
    assert driver.opened == driver.closed
    receiver(input=1).open()
    assert driver.selected == 1


def test_no_mode_that_can_be_taken(driver: Driver) -> None:
    driver.timings, driver.modes = errno.ENOTTY, [Mode("H264", 1920, 1080, 30.0)]
    assert refused(driver, receiver()) == f"{DEVICE}: offers no mode that can be taken"
    assert "offers no raw mode of width 640 that" in refused(driver, receiver(mode="raw", width=640))


# ---------------------------------------------------------------------------------------------- EDID


def test_ours_is_written_once_where_there_is_none(driver: Driver, clock: Clock) -> None:
    one = receiver()
    one.read(None)
    driver.gone = True
    one.read(None)
    driver.gone = False
    clock.now += 1
    one.read(None)
    assert driver.written == [edids.default()]


def test_theirs_is_left_alone(driver: Driver) -> None:
    driver.edid = edids.default()[:128]
    receiver().open()
    assert driver.written == []
    driver.edid = b""
    receiver(edid="keep").open()
    assert driver.written == []


def test_a_file_replaces_theirs_and_is_not_written_again(driver: Driver, tmp_path: Path) -> None:
    """Each writing takes the tower's picture away for a moment."""
    driver.edid = edids.default()[:128]
    (tmp_path / "edid.bin").write_bytes(edids.default())
    receiver(edid=str(tmp_path / "edid.bin")).open()
    receiver(edid=str(tmp_path / "edid.bin")).open()
    assert driver.written == [edids.default()]


@pytest.mark.parametrize("number", [errno.ENOTTY, errno.EINVAL, errno.EPERM, errno.E2BIG])
def test_an_edid_that_is_refused_ends_nothing(
    driver: Driver, tmp_path: Path, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    driver.edid_refused = number
    (tmp_path / "edid.bin").write_bytes(edids.default())
    for choice, warns in (("auto", number not in v4l2.CANNOT_SAY), (str(tmp_path / "edid.bin"), True)):
        caplog.clear()
        assert receiver(edid=choice).open().format == "1920x1080p60"
        warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert bool(warned) is warns
        assert all(DEVICE in line and "EDID cannot be written" in line for line in warned)


def test_a_wrong_edid_file_is_said_at_once(driver: Driver, tmp_path: Path) -> None:
    bad = tmp_path / "bad.bin"
    with pytest.raises(CaptureError, match=r"capture\.edid: .*bad\.bin: cannot be read: No such file"):
        receiver(edid=str(bad))
    bad.write_bytes(b"x" * 130)
    with pytest.raises(CaptureError, match=r"capture\.edid: .*bad\.bin: it has 130 bytes, a multiple of 128"):
        receiver(edid=str(bad))
    assert driver.opened == 0


# --------------------------------------------------------------------------------------------- modes

UVC = [
    Mode("MJPG", 3840, 2160, 30.0),
    Mode("MJPG", 1920, 1080, 60.0),
    Mode("MJPG", 1280, 720, 60.0),
    Mode("YUYV", 1920, 1080, 5.0),
    Mode("YUYV", 1280, 720, 30.0),
    Mode("YUYV", 640, 480, 30.0),
    Mode("H264", 1920, 1080, 60.0),
]


@pytest.mark.parametrize(
    ("modes", "options", "chosen"),
    [
        (UVC, {}, ("MJPG", 1920, 1080, 60.0)),
        (UVC, {"mode": "raw"}, ("YUYV", 1280, 720, 30.0)),
        (UVC, {"mode": "raw", "width": 1920}, ("YUYV", 1920, 1080, 5.0)),
        (UVC, {"mode": "mjpeg", "height": 720}, ("MJPG", 1280, 720, 60.0)),
        (UVC, {"width": 3840}, ("MJPG", 3840, 2160, 30.0)),
        (UVC, {"width": 800}, None),
        ([*UVC, Mode("NV12", 1920, 1080, 60.0)], {}, ("NV12", 1920, 1080, 60.0)),
        ([*UVC, Mode("NV12", 1920, 1080, 30.0)], {}, ("MJPG", 1920, 1080, 60.0)),
        ([Mode("MJPG", 3840, 2160, 30.0)], {}, ("MJPG", 3840, 2160, 30.0)),
        ([Mode("YUYV", 1920, 1080, 5.0), Mode("YUYV", 640, 480, 15.0)], {}, ("YUYV", 640, 480, 15.0)),
        ([Mode("YUYV", 1920, 1080, 0.0)], {}, ("YUYV", 1920, 1080, 0.0)),
        ([Mode("H264", 1920, 1080, 60.0)], {}, None),
        ([], {}, None),
    ],
)
def test_the_mode_that_is_taken(modes: list[Mode], options: dict[str, object], chosen: tuple[object, ...]) -> None:
    config = v4l2.Config(device=DEVICE, **options)  # type: ignore[arg-type]
    assert v4l2.best_mode(modes, config) == chosen
    assert v4l2.best_mode(modes[::-1], config) == chosen


def test_jpeg_is_decoded_and_raw_is_not(driver: Driver) -> None:
    driver.timings, driver.modes = errno.ENOTTY, UVC
    assert receiver().open().description.endswith("image/jpeg,width=1920,height=1080 ! jpegdec")
    assert receiver(mode="raw").open().description.endswith("video/x-raw,width=1280,height=720")


@pytest.mark.parametrize(
    "fields", ["(format:Interlaced),interlace-mode=alternate", ",interlace-mode=interleaved"], ids=["single", "woven"]
)
def test_interlaced_pictures_are_taken_in_either_form(driver: Driver, fields: str) -> None:
    """GStreamer's own elements stand for the driver: what `v4l2src` brings, and the first element behind it."""
    driver.timings = HDI50
    feed = receiver().open()
    assert (feed.format, feed.fps) == ("1920x1080i50", 25)
    brings = "videotestsrc num-buffers=60 pattern=ball ! video/x-raw,format=UYVY,width=1920,height=1080,framerate=50/1"
    brings += f" ! interlace field-pattern=1:1 ! video/x-raw{fields}"
    source, _, caps = feed.description.partition(" ! ")
    assert source == "v4l2src name=source"
    tail = "deinterlace method=linear fields=top ! tee name=tap ! appsink name=sink sync=false"
    pipeline = gst.Pipeline(f"{brings} ! {caps} ! {tail}", "interlaced")
    try:
        pipeline.play()
        picture = pipeline.pull(20)
        assert picture is not None, pipeline.poll_error()
        picture.release()
        size = pipeline.source_size()
        assert size is not None
        assert (size.width, size.height, size.fps) == (1920, 1080, 25)
    finally:
        pipeline.close()
