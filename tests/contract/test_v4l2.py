"""`Receiver` against a node that behaves like each class of driver: what it says of the cable, and gone and back."""

from __future__ import annotations

import errno

import pytest

from edge.capture import v4l2
from edge.capture import v4l2_ioctl as ioctl
from edge.capture.evidence import Link
from edge.capture.v4l2_ioctl import Mode
from tests.support.fake_v4l2 import HD50, HD60, Clock, Driver, receiver

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


def test_a_driver_that_says_enodev_to_one_question_only(driver: Driver, clock: Clock) -> None:
    one = receiver()
    one.read(None)
    driver.timings, driver.waiting = errno.ENODEV, 1
    assert one.read(None).link is Link.GONE
    assert driver.opened == driver.closed
    driver.timings = HD60
    clock.now += 1
    assert one.read(None).link is Link.LOCKED
