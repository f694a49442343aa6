"""One file by YMODEM, in 1 KiB blocks with CRC-16: what `rb` of lrzsz and every terminal program receives. Pure.

    receiver:  C        ACK C          ACK ...   NAK   ACK C         ACK
    sender:      block 0     block 1 ...    EOT    EOT     block 0 (empty)

A block is SOH or STX, its number and that number's complement, 128 or 1024 bytes, CRC (big-endian).
"""

from __future__ import annotations

import binascii
from collections.abc import Generator

from edge.clock import Clock
from edge.console.job import Step, Take
from edge.errors import ConsoleError

SOH, STX, EOT, ACK, NAK, CAN, CTRL_C, CR, LF = 0x01, 0x02, 0x04, 0x06, 0x15, 0x18, 0x03, 0x0D, 0x0A
CRC_PLEASE = ord("C")
START_S, ANSWER_S, FAREWELL_S, TRIES = 60.0, 10.0, 15.0, 10
_CANCEL = bytes([CAN] * 8 + [0x08] * 8)  # and the backspaces clean a person's screen

Talk = Generator[Step, bytes | None, None]


class Sender:
    """One transfer."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._heard = clock, bytearray()

    def send(self, name: str, content: bytes) -> Talk:
        """Raises ConsoleError: nobody received, or the receiver gave up."""
        try:
            yield from self._wait_for(CRC_PLEASE, START_S, "nobody has started a receiver")
            yield from self._until_acked(_block(0, f"{name}\0{len(content)}".encode("ascii")))
            yield from self._wait_for(CRC_PLEASE, ANSWER_S, "the receiver does not want the file")
            for number, start in enumerate(range(0, len(content), 1024), 1):
                yield from self._until_acked(_block(number, content[start : start + 1024], padding=b"\x1a"))
            if (yield from self._ended()):
                yield from self._farewell()
        except ConsoleError:
            yield _CANCEL
            raise

    def _until_acked(self, block: bytes) -> Talk:
        for _ in range(TRIES):
            self._heard.clear()  # what was said before this block is no answer to it
            yield block
            if (yield from self._hear(bytes([ACK, NAK]), ANSWER_S)) == ACK:
                return
        raise ConsoleError(f"the transfer failed: a block was refused {TRIES} times")

    def _ended(self) -> Generator[Step, bytes | None, bool]:
        """Say that this was all; whether the receiver then asks for a further file. One that does has understood, also
        when its ACK came so late that we had said it again."""
        self._heard.clear()
        for _ in range(TRIES):
            yield bytes([EOT])
            answer = yield from self._hear(bytes([ACK, NAK, CRC_PLEASE]), ANSWER_S)
            if answer == ACK:
                return (yield from self._hear(bytes([CRC_PLEASE]), ANSWER_S)) is not None
            if answer == CRC_PLEASE:
                return True
        raise ConsoleError(f"the transfer failed: its end was refused {TRIES} times")

    def _farewell(self) -> Talk:
        """No further file. lrzsz asks for one, then throws away what has come meanwhile, and asks again after 10 s. A
        receiver that goes without a word is no failure; Enter, from whoever sat before it, ends the wait."""
        for _ in range(TRIES):
            self._heard.clear()
            yield _block(0, b"")
            if (yield from self._hear(bytes([ACK, NAK, CRC_PLEASE, CR, LF]), FAREWELL_S)) not in (NAK, CRC_PLEASE):
                return

    def _wait_for(self, byte: int, within_s: float, otherwise: str) -> Talk:
        if (yield from self._hear(bytes([byte]), within_s)) is None:
            raise ConsoleError(f"the transfer failed: {otherwise}")

    def _hear(self, wanted: bytes, within_s: float) -> Generator[Step, bytes | None, int | None]:
        """The first of the wanted bytes; None when none came in time. Others are noise, but for a request to stop."""
        until_ns = self._clock.now_ns() + int(within_s * 1e9)
        cancels = 0
        while True:
            while self._heard:
                byte = self._heard.pop(0)
                cancels = cancels + 1 if byte == CAN else 0
                if cancels == 2 or byte == CTRL_C:
                    raise ConsoleError("the transfer was cancelled")
                if byte in wanted:
                    return byte
            left_s = (until_ns - self._clock.now_ns()) / 1e9
            if left_s <= 0:
                return None
            self._heard += (yield Take(left_s)) or b""


def _block(number: int, content: bytes, padding: bytes = b"\0") -> bytes:
    size = 128 if len(content) <= 128 else 1024
    body = content.ljust(size, padding)
    head = bytes([SOH if size == 128 else STX, number & 255, 255 - (number & 255)])
    return head + body + binascii.crc_hqx(body, 0).to_bytes(2, "big")
