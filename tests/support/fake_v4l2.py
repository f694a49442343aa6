"""A capture device's node that behaves like each class of driver."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from edge.capture import v4l2
from edge.capture import v4l2_ioctl as ioctl
from edge.capture.v4l2_ioctl import Mode

DEVICE = "/dev/video7"
HD60 = (1920, 1080, 148_500_000, 2200, 1125)
HD50 = (1280, 720, 74_250_000, 1980, 750)


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


def install(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """The driver behind every node that v4l2.py opens from now on."""
    made = Driver()
    monkeypatch.setattr(v4l2.ioctl, "Node", type("OneNode", (Node,), {"driver": made}))
    return made


def receiver(**options: object) -> v4l2.Receiver:
    return v4l2.Receiver(v4l2.Config(device=DEVICE, **options))  # type: ignore[arg-type]
