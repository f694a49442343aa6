"""The part of CBOR (RFC 8949) that SMP needs: maps, arrays, text, bytes, whole numbers, true, false, null.

Lengths are definite. Whatever else comes, or is nested deeper than DEPTH, is a ValueError.
"""

from __future__ import annotations

import struct

Value = dict[str, "Value"] | list["Value"] | str | bytes | int | bool | None

DEPTH = 8
_SIZES = {24: ">B", 25: ">H", 26: ">I", 27: ">Q"}
_SIMPLE: dict[int, bool | None] = {20: False, 21: True, 22: None}
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _OTHER = 0, 1, 2, 3, 4, 5, 7


def dumps(value: Value) -> bytes:
    """Shortest form; map keys in the order given."""
    if value is None or isinstance(value, bool):
        return bytes([_OTHER << 5 | next(code for code, is_ in _SIMPLE.items() if is_ is value)])
    if isinstance(value, int):
        return _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
    if isinstance(value, str):
        text = value.encode()
        return _head(_TEXT, len(text)) + text
    if isinstance(value, bytes):
        return _head(_BYTES, len(value)) + value
    if isinstance(value, list):
        return _head(_ARRAY, len(value)) + b"".join(map(dumps, value))
    return _head(_MAP, len(value)) + b"".join(dumps(key) + dumps(item) for key, item in value.items())


def loads(data: bytes) -> Value:
    """Exactly one value. Raises ValueError."""
    value, end = _value(data, 0, DEPTH)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes follow the value")
    return value


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for code, form in _SIZES.items():
        if number < 1 << 8 * struct.calcsize(form):
            return bytes([major << 5 | code]) + struct.pack(form, number)
    raise ValueError(f"{number} needs more than 64 bits")


def _value(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    if depth == 0:
        raise ValueError(f"nested deeper than {DEPTH}")
    major, number, at = _read_head(data, at)
    if major == _UNSIGNED:
        return number, at
    if major == _NEGATIVE:
        return -1 - number, at
    if major in (_BYTES, _TEXT):
        if at + number > len(data):
            raise ValueError("ends too early")
        content = data[at : at + number]
        return (content.decode() if major == _TEXT else content), at + number
    if major == _ARRAY:
        return _items(data, at, number, depth)
    if major == _MAP:
        return _pairs(data, at, number, depth)
    if major == _OTHER and number in _SIMPLE and data[at - 1] >> 5 == _OTHER:
        return _SIMPLE[number], at
    raise ValueError(f"type {major}, {number} is not used by SMP")


def _items(data: bytes, at: int, count: int, depth: int) -> tuple[list[Value], int]:
    items: list[Value] = []
    for _ in range(count):  # each takes a byte at least, so a false count ends with the data
        item, at = _value(data, at, depth - 1)
        items.append(item)
    return items, at


def _pairs(data: bytes, at: int, count: int, depth: int) -> tuple[dict[str, Value], int]:
    pairs: dict[str, Value] = {}
    for _ in range(count):
        key, at = _value(data, at, depth - 1)
        if not isinstance(key, str):
            raise ValueError("a key is no text")
        pairs[key], at = _value(data, at, depth - 1)
    return pairs, at


def _read_head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, number, and where what follows begins."""
    if at >= len(data):
        raise ValueError("ends too early")
    major, code = data[at] >> 5, data[at] & 31
    if code < 24:
        return major, code, at + 1
    form = _SIZES.get(code)
    if form is None:
        raise ValueError("a length that is not said is not used by SMP")
    size = struct.calcsize(form)
    if at + 1 + size > len(data):
        raise ValueError("ends too early")
    return major, int(struct.unpack_from(form, data, at + 1)[0]), at + 1 + size
