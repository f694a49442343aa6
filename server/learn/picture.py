"""A JPEG without anything but its picture, read from its markers (ITU-T T.81, annex B). Its pixels are never encoded
again: what was taken away can be said exactly, and nothing else has changed.
"""

from __future__ import annotations

import struct

_SOI, _SOS, _EOI, _COM = 0xD8, 0xDA, 0xD9, 0xFE
_JFIF, _ADOBE = 0xE0, 0xEE
_APPLICATION = range(0xE0, 0xF0)
_KEPT = {0xC4, 0xCC, 0xDB, 0xDD, *(set(range(0xC0, 0xC8)) - {0xC4}), *(set(range(0xC9, 0xD0)) - {0xCC})}
"""Tables, restart interval and frame headers: what a decoder needs."""
_INSIDE = {0x00, *range(0xD0, 0xD8)}  # after FF within a scan: a byte of data, a restart


def bare(content: bytes) -> bytes:
    """Without EXIF, XMP, colour profiles, thumbnails, comments and whatever follows the picture's end. Kept: the two
    markers that say how colours are meant (JFIF, Adobe), as short as they can be. Raises ValueError."""
    if content[:2] != bytes((0xFF, _SOI)):
        raise ValueError("expected a JPEG")
    kept, at, seen = [content[:2]], 2, False
    while True:
        marker, at = _marker(content, at)
        if marker == _EOI:
            if not seen:
                raise ValueError("the JPEG holds no picture")
            return b"".join([*kept, bytes((0xFF, _EOI))])
        body, at = _body(content, at)
        if marker in _APPLICATION or marker == _COM:
            kept.append(_short(marker, body))
        elif marker in _KEPT:
            kept.append(_segment(marker, body))
        elif marker == _SOS:
            end = _scan(content, at)
            kept += [_segment(marker, body), content[at:end]]
            at, seen = end, True
        else:
            raise ValueError(f"the JPEG has a marker FF{marker:02X}, which is not known")


def _marker(content: bytes, at: int) -> tuple[int, int]:
    """The marker there, and where its segment begins. Fill bytes before it are passed over."""
    if at < len(content) and content[at] != 0xFF:
        raise ValueError(f"expected a JPEG marker at byte {at}")
    while at < len(content) and content[at] == 0xFF:
        at += 1
    if at >= len(content):
        raise ValueError("the JPEG ends before its end marker")
    return content[at], at + 1


def _body(content: bytes, at: int) -> tuple[bytes, int]:
    if at + 2 > len(content):
        raise ValueError("the JPEG ends within a segment")
    (length,) = struct.unpack_from(">H", content, at)
    if length < 2 or at + length > len(content):
        raise ValueError(f"the JPEG's segment at byte {at} has a wrong length")
    return content[at + 2 : at + length], at + length


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def _short(marker: int, body: bytes) -> bytes:
    """JFIF and Adobe with nothing of this picture's own but the colour transform; of others nothing."""
    if marker == _JFIF and body[:5] == b"JFIF\0":
        return _segment(marker, b"JFIF\0" + struct.pack(">HBHHBB", 0x0101, 0, 1, 1, 0, 0))
    if marker == _ADOBE and body[:5] == b"Adobe" and len(body) >= 12:
        return _segment(marker, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, body[11]))
    return b""


def _scan(content: bytes, at: int) -> int:
    """Where its data end: at a marker that is neither a restart nor a stuffed byte."""
    while (at := content.find(b"\xff", at)) >= 0 and at + 1 < len(content):
        if content[at + 1] not in _INSIDE and content[at + 1] != 0xFF:
            return at
        at += 1 if content[at + 1] == 0xFF else 2
    raise ValueError("the JPEG ends within its picture")
