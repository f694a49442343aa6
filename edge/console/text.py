"""Plain ASCII for a terminal: what others wrote (logs, errors, names) may not move the cursor or ring the bell."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

COLUMNS = 80
_STRANGE = re.compile(r"[^\x20-\x7e]+")


def plain(text: str) -> str:
    """One line of printable ASCII; whatever else there was is one `?` a run."""
    return _STRANGE.sub("?", text.strip())


def folded(text: str, indent: str = "") -> list[str]:
    """`text` as lines of 80 columns at most, broken at spaces; those after the first begin with `indent`."""
    line = _STRANGE.sub("?", text.rstrip())
    return textwrap.wrap(line, COLUMNS, subsequent_indent=indent, break_on_hyphens=False) or [""]


def pairs(*rows: tuple[str, object]) -> Iterator[str]:
    """Name and value, in two columns."""
    for name, value in rows:
        yield from folded(f"{name:<14}{value}", indent=" " * 14)
