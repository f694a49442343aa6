"""What a JPEG says of itself, read from its markers (ITU-T T.81, annex B). Its pixels are never decoded here."""

from __future__ import annotations

import struct
from typing import NamedTuple

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOF0 = 0xC0  # baseline, the only process that our DICOM transfer syntax carries
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
_APP14 = 0xEE


class Jpeg(NamedTuple):
    width: int
    height: int
    components: int
    baseline: bool  # 8 bit, Huffman, sequential
    halved: bool  # the colours have half the luminance's columns
    transformed: bool  # three components are YCbCr and no RGB


def read(content: bytes) -> Jpeg:
    """Raises ValueError that says what is wrong."""
    if not content.startswith(_SOI):
        raise ValueError("expected a JPEG")
    if _EOI not in content[-64:]:
        raise ValueError("the JPEG ends before its end marker")
    at, transformed = 2, True
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            raise ValueError(f"expected a JPEG marker at byte {at}")
        marker = content[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", content, at + 2)
        body = content[at + 4 : at + 2 + length]
        if marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            transformed = body[11] != 0
        if marker in _FRAMES:
            return _frame(marker, body, transformed)
        at += 2 + length
    raise ValueError("the JPEG has no frame header")


def _frame(marker: int, body: bytes, transformed: bool) -> Jpeg:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise ValueError("the JPEG's frame header is too short")
    bits, height, width, components = struct.unpack_from(">BHHB", body)
    across = [body[6 + 3 * n + 1] >> 4 for n in range(components)]
    return Jpeg(
        width=width,
        height=height,
        components=components,
        baseline=marker == _SOF0 and bits == 8,
        halved=components == 3 and across[0] == 2 * across[1],
        transformed=transformed,
    )
