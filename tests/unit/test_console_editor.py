"""Bytes to lines, frames and ^C: what a person types, and what nobody types."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.console.editor import FRAME_MOST, LINE_MOST, Editor, Frame, Interrupt, Line, Typed

ON_A_BUSY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def typed(data: bytes, chunk: int = 1 << 20) -> tuple[list[Typed], bytes]:
    """All that became whole, and the echo, when it comes in pieces of `chunk` bytes."""
    editor, found, echo = Editor(), [], bytearray()
    for start in range(0, len(data), chunk):
        piece, at = data[start : start + chunk], 0
        while at < len(piece):
            one, at = editor.take(piece, at, echo)
            found += [one] if one is not None else []
    return found, bytes(echo)


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_every_kind_of_enter_is_one_line(end: bytes) -> None:
    found, echo = typed(b"status" + end + b"log 5" + end)
    assert found == [Line("status", False), Line("log 5", False)]
    assert echo == b"status\r\nlog 5\r\n"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (b"stax\x7ftus\r", "status"),
        (b"\x08\x08status\r", "status"),
        (b"reboot now\x15status\r", "status"),
        (b"sta\x1b[Dtus\x1b[3~\x1bOP\r", "status"),
        (b"sta\x06\x09AAo=\ntus\r", "status"),
    ],
    ids=["backspace", "backspace of nothing", "clear", "arrow keys", "a machine's frame in between"],
)
def test_editing(keys: bytes, line: str) -> None:
    found, _ = typed(keys)
    assert [one for one in found if isinstance(one, Line)] == [Line(line, False)]


@pytest.mark.parametrize("byte", [0x00, 0x01, 0x1F, 0x80, 0xC3, 0xFF])
def test_a_line_with_noise_in_it_is_spoilt(byte: int) -> None:
    """Or `re` + noise + `boot` would be a command."""
    found, _ = typed(b"re" + bytes([byte]) + b"boot now\rstatus\r")
    assert found == [Line("reboot now", True), Line("status", False)]


def test_control_c_forgets_the_line() -> None:
    assert typed(b"reboot\x03status\r")[0] == [Interrupt(), Line("status", False)]


def test_a_line_without_an_end_is_bounded_and_spoilt() -> None:
    editor, echo = Editor(), bytearray()
    for _ in range(1000):
        assert editor.take(b"x" * 4096, 0, echo) == (None, 4096)
    assert editor.overflown
    assert len(echo) <= LINE_MOST
    line, _ = editor.take(b"\rstatus\r", 0, echo)
    assert isinstance(line, Line)
    assert line.spoilt
    assert len(line.text) == LINE_MOST


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_frames_of_machines(end: bytes) -> None:
    found, echo = typed(b"\x06\x09AAECAw==" + end + b"\x04\x14BBBB" + end + b"time\r")
    assert found == [Frame(b"\x06\x09AAECAw=="), Frame(b"\x04\x14BBBB"), Line("time", False)]
    assert echo == b"time\r\n"  # a machine does not want to read what it said


@pytest.mark.parametrize("noise", [b"\x06", b"\x06\x09" + b"A" * FRAME_MOST, b"\x06\x09AB-", b"\x1b\x06"])
def test_what_only_begins_like_a_frame_does_not_swallow_enter(noise: bytes) -> None:
    found, _ = typed(noise + b"\rstatus\r")
    assert found[-1] == Line("status", False)


@ON_A_BUSY_MACHINE
@given(st.binary(max_size=600), st.integers(1, 40))
def test_pieces_make_no_difference(data: bytes, chunk: int) -> None:
    assert typed(data) == typed(data, chunk)


@ON_A_BUSY_MACHINE
@given(st.binary(max_size=600))
def test_the_echo_is_plain(data: bytes) -> None:
    """Whatever comes in, what goes out moves no cursor and rings no bell."""
    _, echo = typed(data)
    assert not set(echo) - set(range(0x20, 0x7F)) - set(b"\r\n\b")


@ON_A_BUSY_MACHINE
@given(st.binary(max_size=200))
def test_after_anything_two_enters_are_a_clean_prompt(data: bytes) -> None:
    found, _ = typed(data + b"\r\rstatus\r")
    assert found[-1] == Line("status", False)
