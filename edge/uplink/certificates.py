"""From when until when certificates hold: the dates of X.509 (RFC 5280), read without a library.

Whether a certificate can be trusted is OpenSSL's business, at each connection. These dates are for telling a person in
time, and for naming the one of several files that is the trouble.
"""

from __future__ import annotations

import re
import ssl
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from edge.errors import UplinkError

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _INTEGER, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0x02, 0xA0, 0x17, 0x18


class Validity(NamedTuple):
    """UTC, both inclusive."""

    not_before: datetime
    not_after: datetime


def validities(path: Path) -> list[Validity]:
    """Of each certificate in a PEM file, in its order. Raises UplinkError naming the file."""
    try:
        found = [_validity(ssl.PEM_cert_to_DER_cert(block)) for block in _PEM.findall(path.read_text())]
    except OSError as exc:
        raise UplinkError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (ValueError, IndexError) as exc:
        raise UplinkError(f"{path}: holds a certificate that is not one") from exc
    if not found:
        raise UplinkError(f"{path}: holds no PEM certificate")
    return found


def _validity(der: bytes) -> Validity:
    """Certificate → tbsCertificate → [version], serialNumber, signature, issuer, validity."""
    fields = _parts(_parts(_content(der, _SEQUENCE))[0][1])
    if fields[0][0] == _VERSION:
        del fields[0]
    (serial, _), _, _, (tag, validity) = fields[:4]
    if (serial, tag) != (_INTEGER, _SEQUENCE):
        raise ValueError("no tbsCertificate")
    before, after = _parts(validity)
    return Validity(_time(*before), _time(*after))


def _time(tag: int, content: bytes) -> datetime:
    """Years of two digits are those from 1950 on (RFC 5280, 4.1.2.5.1)."""
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("no time")
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = f"{'19' if text >= '5' else '20'}{text}"
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)


def _content(der: bytes, tag: int) -> bytes:
    ((found, content), *_) = _parts(der)
    if found != tag:
        raise ValueError(f"tag {found:#x}")
    return content


def _parts(der: bytes) -> list[tuple[int, bytes]]:
    """DER's tag, length, content; one after the other (X.690, 8.1)."""
    parts, at = [], 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        if at + length > len(der):
            raise ValueError("cut off")
        parts.append((tag, der[at : at + length]))
        at += length
    return parts
