"""SMP, the Simple Management Protocol of MCUmgr, as it is spoken on serial lines. Pure.

A packet is base64 of: length (2 bytes, of what follows), SMP header (8), CBOR map, CRC-16/XMODEM (2), all big-endian;
cut into lines of at most 127 bytes, the first marked 06 09, the others 04 14. (Zephyr, "SMP over console".)
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable
from typing import NamedTuple

from edge.console import cbor
from edge.console.cbor import Value
from edge.console.editor import FRAME_MARKS, FRAME_MOST

READ, READ_ANSWER, WRITE, WRITE_ANSWER = range(4)
ANSWERS = {READ: READ_ANSWER, WRITE: WRITE_ANSWER}
PACKET_MOST = 2048  # what we say in `params`; a longer one is dropped when its length is read

# Error codes of SMP.
UNKNOWN, NO_MEMORY, INVALID, _TIMEOUT, NO_ENTRY, BAD_STATE, TOO_LARGE, NOT_SUPPORTED = range(1, 9)

_HEADER = struct.Struct(">BBHHBB")  # version and operation, flags, length, group, sequence, command
_LINE_CHARS = (FRAME_MOST - 3) // 4 * 4  # base64 in whole quartets, beside mark and newline


class Request(NamedTuple):
    operation: int
    version: int
    group: int
    sequence: int
    command: int
    body: dict[str, Value]


class RefusedError(Exception):
    """A request that is answered with an SMP error code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


Handler = Callable[[dict[str, Value]], dict[str, Value]]


class Assembler:
    """Lines to packets. What is damaged is dropped without an answer: nobody knows what it was."""

    def __init__(self) -> None:
        self._text = b""

    def take(self, frame: bytes) -> bytes | None:
        """A packet without length and CRC, when this line made it whole."""
        mark, text = frame[:2], frame[2:]
        self._text = text if mark == FRAME_MARKS[0] else self._text + text if self._text else b""
        try:
            head = base64.b64decode(self._text[:4], validate=True)
            length = int.from_bytes(head[:2], "big")
            if len(head) < 2 or not _HEADER.size + 2 <= length <= PACKET_MOST:
                raise ValueError("no packet has this length")
            if len(self._text) < -(-(length + 2) // 3) * 4:
                return None  # more lines are to come
            content = base64.b64decode(self._text, validate=True)
        except (binascii.Error, ValueError):
            self._text = b""
            return None
        self._text = b""
        whole = content[2:]
        return whole[:-2] if len(whole) == length and binascii.crc_hqx(whole, 0) == 0 else None


def lines(packet: bytes) -> bytes:
    """A packet as it goes over the line."""
    crc = binascii.crc_hqx(packet, 0)
    text = base64.b64encode(struct.pack(">H", len(packet) + 2) + packet + struct.pack(">H", crc))
    pieces = [text[start : start + _LINE_CHARS] for start in range(0, len(text), _LINE_CHARS)]
    return b"".join(FRAME_MARKS[min(number, 1)] + piece + b"\n" for number, piece in enumerate(pieces))


def parse(packet: bytes) -> Request:
    """Raises ValueError."""
    if len(packet) < _HEADER.size:
        raise ValueError("shorter than a header")
    first, _flags, length, group, sequence, command = _HEADER.unpack_from(packet)
    operation, version = first & 7, first >> 3 & 3
    body = cbor.loads(packet[_HEADER.size :]) if length else {}
    if operation not in ANSWERS or length != len(packet) - _HEADER.size or not isinstance(body, dict):
        raise ValueError("no request")
    return Request(operation, version, group, sequence, command, body)


def answer(request: Request, handlers: dict[tuple[int, int, int], Handler]) -> bytes:
    """The packet that answers it. `handlers` by operation, group and command."""
    handler = handlers.get((request.operation, request.group, request.command))
    try:
        if handler is None:
            raise RefusedError(NOT_SUPPORTED)
        body = handler(request.body)
    except RefusedError as exc:
        body = {"rc": exc.code}
    content = cbor.dumps(body)
    first = ANSWERS[request.operation] | request.version << 3
    return _HEADER.pack(first, 0, len(content), request.group, request.sequence, request.command) + content
