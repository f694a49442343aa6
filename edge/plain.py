"""Plain ASCII: what others wrote (logs, errors, names) may not move a terminal's cursor or ring its bell."""

from __future__ import annotations

import re

STRANGE = re.compile(r"[^\x20-\x7e]+")


def plain(text: str) -> str:
    """One line of printable ASCII; whatever else there was is one `?` a run."""
    return STRANGE.sub("?", text.strip())
