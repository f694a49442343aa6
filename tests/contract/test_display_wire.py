"""The datagrams between core and display: what arrives is what was sent, and no display can hold the core up."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.display import wire
from edge.display.wire import Listener, Sender, Shown, ShownBox
from edge.errors import DisplayError
from edge.types import Field, SignalState, View

FIELD = Field(x=4, y=2, width=640, height=480, outline=((4.0, 2.0), (644.0, 2.0), (644.0, 482.0)))
SHOWN = Shown(
    said_ns=2_000,
    state=SignalState.LIVE,
    detail="ä <&> \x00",
    view=View.POOR,
    boxes=(ShownBox(label="polyp", box=(1.0, 2.0, 3.5, 4.5), score=0.75, confirmed=True),),
    alerts=("one", "two"),
    captured_ns=1_000,
    jpeg=bytes(range(256)) * 240,  # 60 kB
    field=FIELD,
)
WAIT_S = 5.0  # for what is there already; no test takes so long


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / wire.NAME


@pytest.fixture
def sender(path: Path) -> Iterator[Sender]:
    sender = Sender(path)
    yield sender
    sender.close()


@pytest.fixture
def listener(path: Path) -> Iterator[Listener]:
    listener = Listener(path)
    yield listener
    listener.close()


def test_what_arrives_is_what_was_sent(sender: Sender, listener: Listener) -> None:
    gone = Shown(said_ns=3_000, state=SignalState.DEVICE_GONE, detail="/dev/video0: it is not there")
    assert sender.send(SHOWN)
    assert sender.send(gone)
    assert listener.hear(WAIT_S) == [SHOWN, gone]
    assert listener.hear(0) == []
    assert (sender.sent, sender.lost, listener.unreadable) == (2, 0, 0)


def test_without_a_display_nothing_happens(sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    assert [sender.send(SHOWN) for _ in range(3)] == [False] * 3
    assert (sender.sent, sender.lost) == (0, 3)
    assert caplog.records == []


def test_a_display_that_never_reads_cannot_hold_the_core_up(sender: Sender, listener: Listener) -> None:
    """A thousand pictures at one that hangs: were one of them to wait for it, this test would never end."""
    for _ in range(1000):
        sender.send(SHOWN)
    assert sender.sent + sender.lost == 1000
    assert sender.lost > 900
    assert len(listener.hear(WAIT_S)) == sender.sent, "what was said to be sent was not there"
    assert sender.send(SHOWN), "room again, and still not sent"
    assert listener.hear(WAIT_S) == [SHOWN]


def test_a_picture_that_is_too_large_is_told_once(
    sender: Sender, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    large = Shown(said_ns=0, state=SignalState.LIVE, jpeg=bytes(wire.LARGEST))
    with caplog.at_level(logging.WARNING):
        assert [sender.send(large) for _ in range(3)] == [False] * 3
    [record] = caplog.records
    assert "cannot be shown" in record.getMessage()
    assert sender.send(SHOWN)
    assert listener.hear(WAIT_S) == [SHOWN]


def test_a_display_may_come_back(sender: Sender, path: Path) -> None:
    first = Listener(path)
    assert sender.send(SHOWN)
    first.socket.close()  # killed: its socket's file stays
    assert path.exists()
    assert not sender.send(SHOWN)
    again = Listener(path)
    assert sender.send(SHOWN)
    assert again.hear(WAIT_S) == [SHOWN]
    again.close()
    assert not path.exists()
    assert not sender.send(SHOWN)


def test_the_core_may_come_back(path: Path, listener: Listener) -> None:
    for said_ns in (1, 2):
        sender = Sender(path)
        assert sender.send(Shown(said_ns=said_ns, state=SignalState.STARTING))
        sender.close()
    assert [shown.said_ns for shown in listener.hear(WAIT_S)] == [1, 2]


def test_what_is_not_ours_is_counted_and_passed_over(
    sender: Sender, listener: Listener, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger, caplog.at_level(logging.WARNING):
        for junk in (b"", b"hello", b"\xff" * 5000, b"\x82\xa5state\xa4lost\xa7said_ns\x01"):
            stranger.sendto(junk, str(path))
        sender.send(SHOWN)
        assert listener.hear(WAIT_S) == [SHOWN]
    assert listener.unreadable == 4
    assert len(caplog.records) == 1


def test_a_second_display_is_refused(listener: Listener, path: Path, sender: Sender) -> None:
    with pytest.raises(DisplayError, match="another display"):
        Listener(path)
    assert sender.send(SHOWN)
    assert listener.hear(WAIT_S) == [SHOWN]


@pytest.mark.parametrize("name", ["nowhere/display.sock", "a" * 120])
def test_a_path_that_cannot_be_is_told(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DisplayError, match="cannot be made"):
        Listener(tmp_path / name)
    sender = Sender(tmp_path / name)
    assert not sender.send(SHOWN)
    assert sender.lost == 1
    sender.close()
