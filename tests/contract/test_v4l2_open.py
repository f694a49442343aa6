"""`Receiver` opens a device: what it sets, chooses and writes there, and how it says no."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edge.capture import edid as edids
from edge.capture import gst, v4l2
from edge.capture.evidence import Link
from edge.capture.v4l2_ioctl import Mode
from edge.errors import CaptureError
from tests.support.fake_v4l2 import DEVICE, HD50, Clock, Driver, receiver

HDI50 = (1920, 1080, 74_250_000, 2640, 1125, 1)

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
