"""Bytes from the line to whole lines, machine frames and ^C; and what is to be echoed. Pure.

Whatever comes, at most LINE_MOST bytes are kept. A line in which there was a byte that no person types is *spoilt*: it
is not carried out, so noise can never make a command out of what somebody has typed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LINE_MOST = 1024  # a service token is the longest thing to type
FRAME_MOST = 127  # of one line of the machine's frames, with both marks and the newline
FRAME_MARKS = (b"\x06\x09", b"\x04\x14")  # first line of a packet, and those that go on with it
PROMPT = b"endoedge> "

_CR, _LF, _ESCAPE = 0x0D, 0x0A, 0x1B
_CTRL_C, _CTRL_U = 0x03, 0x15
_BACKSPACES = (0x08, 0x7F)
_FIRST_MARKS = {mark[0]: mark for mark in FRAME_MARKS}
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
_ESCAPE_MOST = 8
_PRINTABLE = re.compile(rb"[\x20-\x7e]+")


class Line(NamedTuple):
    """What a person typed."""

    text: str
    spoilt: bool


class Frame(NamedTuple):
    """One line of a machine's packet, with its mark, without the newline."""

    content: bytes


class Interrupt(NamedTuple):
    """^C"""


Typed = Line | Frame | Interrupt


class Editor:
    """`take` looks at bytes until something is whole."""

    def __init__(self) -> None:
        self._line, self._frame, self._escape = bytearray(), bytearray(), bytearray()
        self._spoilt = self._after_cr = False
        self.overflown = False  # the line that is being typed is too long to be one

    def take(self, data: bytes, start: int, echo: bytearray) -> tuple[Typed | None, int]:
        """Look at `data` from `start`. Returns what became whole, if anything did, and where to go on.

        `echo` gets what a terminal should show.
        """
        at = start
        while at < len(data):
            if not (self._frame or self._escape) and (run := _PRINTABLE.match(data, at)):
                self._add(run[0], echo)
                self._after_cr = False
                at = run.end()
                continue
            typed = self._byte(data[at], echo)
            at += 1
            if typed is not None:
                return typed, at
        return None, at

    def without_lf(self, data: bytes) -> bytes:
        """`data`, which somebody else will read, without the second half of the CR LF that ended the last line."""
        rest = data[1:] if self._after_cr and data[:1] == b"\n" else data
        self._after_cr = False
        return rest

    def _add(self, text: bytes, echo: bytearray) -> None:
        room = LINE_MOST - len(self._line)
        self._line += text[:room]
        if len(text) > room:
            self.overflown = self._spoilt = True
        else:
            echo += text

    def _byte(self, byte: int, echo: bytearray) -> Typed | None:
        after_cr, self._after_cr = self._after_cr, byte == _CR
        if self._frame:
            return self._in_frame(byte, echo)
        if self._escape:
            return self._in_escape(byte, echo)
        if byte == _CR or (byte == _LF and not after_cr):
            return self._whole(echo)
        if byte == _CTRL_C:
            self._clear()
            return Interrupt()
        if byte == _CTRL_U:
            echo += b"\b \b" * len(self._line)
            self._clear()
        elif byte in _BACKSPACES:
            if self._line and not self.overflown:
                self._line.pop()
                echo += b"\b \b"
        elif byte == _ESCAPE:
            self._escape.append(byte)
        elif byte in _FIRST_MARKS:
            self._frame.append(byte)
        elif byte != _LF:
            self._spoilt = True
        return None

    def _whole(self, echo: bytearray) -> Line:
        if not self.overflown:
            echo += b"\r\n"
        line = Line(self._line.decode("ascii"), self._spoilt)
        self._clear()
        return line

    def _clear(self) -> None:
        self._line.clear()
        self._spoilt = self.overflown = False

    def _in_frame(self, byte: int, echo: bytearray) -> Typed | None:
        if len(self._frame) == 1:
            expected = byte == _FIRST_MARKS[self._frame[0]][1]
        else:
            if byte in (_LF, _CR):
                frame = Frame(bytes(self._frame))
                self._frame.clear()
                return frame
            expected = byte in _BASE64 and len(self._frame) < FRAME_MOST - 1
        if expected:
            self._frame.append(byte)
            return None
        self._frame.clear()  # noise that looked like a frame
        self._spoilt = True
        return self._byte(byte, echo)

    def _in_escape(self, byte: int, echo: bytearray) -> Typed | None:
        """Arrow keys and the like (ESC [ ... letter, ESC O letter): seen, and without effect."""
        first = len(self._escape) == 1
        if (byte not in b"[O") if first else (not 0x20 <= byte <= 0x7E or len(self._escape) >= _ESCAPE_MOST):
            self._escape.clear()
            self._spoilt = True
            return self._byte(byte, echo)
        self._escape.append(byte)
        if not first and byte >= 0x40:
            self._escape.clear()
        return None
