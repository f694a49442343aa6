"""How far away is the wall? A map of log distance in tube radii, from the phantom, which knows. Not shipped."""

from __future__ import annotations

from calibration.heads import Head
from calibration.manifest import Entry


def label(entry: Entry) -> str | None:
    return "log_distance" if entry.path.startswith("phantom:") else None


HEAD = Head(kind="dense", labels=("log_distance",), label=label, ships=False, hidden=16)
