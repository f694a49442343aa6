"""A YMODEM receiver of a few lines, at a console without a line."""

from __future__ import annotations

from edge.console.ymodem import ACK, EOT, NAK, SOH, STX
from tests.support.console import Person


def received(person: Person, lose: int = 0) -> tuple[str, str, bytes]:
    """What the console says, and the name and content of the file: a YMODEM receiver of a few lines.

    `lose`: every so-manieth block is refused once.
    """
    said = person.types("support\r")
    blocks: list[bytes] = []
    heard, seen = answer(person, b"C"), 0
    while heard[:1] != bytes([EOT]):
        size = 1024 if heard[0] == STX else 128
        number, body = heard[1], heard[3 : 3 + size]
        assert heard[0] in (SOH, STX)
        assert heard[2] == 255 - number
        seen += 1
        if lose and seen % lose == 0:
            heard = answer(person, bytes([NAK]))
            continue
        assert number == len(blocks) % 256
        blocks.append(body)
        heard = answer(person, bytes([ACK]) + (b"C" if len(blocks) == 1 else b""))
    assert answer(person, bytes([NAK]))[:1] == bytes([EOT])
    last = answer(person, bytes([ACK]) + b"C")
    assert last[:3] == bytes([SOH, 0, 255])
    said += answer(person, bytes([ACK])).decode()
    name, size_text = blocks[0].rstrip(b"\0").split(b"\0")
    return said, name.decode(), b"".join(blocks[1:])[: int(size_text)]


def answer(person: Person, keys: bytes) -> bytes:
    person.shell.feed(keys)
    person.shell.step()
    return person.sees()
