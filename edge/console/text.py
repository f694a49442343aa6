"""Lines for a terminal, in plain ASCII."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from edge.plain import STRANGE

COLUMNS = 80


def folded(text: str, indent: str = "") -> list[str]:
    """`text` as lines of 80 columns at most, broken at spaces; those after the first begin with `indent`."""
    line = STRANGE.sub("?", text.rstrip())
    return textwrap.wrap(line, COLUMNS, subsequent_indent=indent, break_on_hyphens=False) or [""]


def pairs(*rows: tuple[str, object]) -> Iterator[str]:
    """Name and value, in two columns."""
    for name, value in rows:
        yield from folded(f"{name:<14}{value}", indent=" " * 14)
