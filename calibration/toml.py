"""Plain values to TOML, which the standard library can only read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(table: Mapping[str, Any]) -> str:
    """A document of strings, numbers, booleans, lists of them, and tables. None is left out: TOML has no such value."""
    return "\n".join(_lines(table, "")).lstrip("\n") + "\n"


def _lines(table: Mapping[str, Any], path: str) -> Iterator[str]:
    """A table's own values first: below a `[header]` they would belong to the other table."""
    nested = {key: value for key, value in table.items() if isinstance(value, Mapping) or _holds_tables(value)}
    for key, value in table.items():
        if key not in nested and value is not None:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in nested.items():
        inner = f"{path}.{_key(key)}" if path else _key(key)
        if isinstance(value, Mapping):
            only_tables = value and all(isinstance(part, Mapping) for part in value.values())
            yield from () if only_tables else ("", f"[{inner}]")
            yield from _lines(value, inner)
            continue
        for part in value:
            yield from ("", f"[[{inner}]]")
            yield from _lines(part, inner)


def _holds_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def _key(key: str) -> str:
    return key if BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    """JSON's strings, booleans and numbers are TOML's too, but for the spelling of NaN and infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
