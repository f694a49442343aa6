"""What is the picture good for? Learned from pictures that are spoilt on purpose, in ways light and lenses know."""

from __future__ import annotations

from calibration.degrade import CONDITIONS, degraded, usable
from calibration.heads import Head
from calibration.manifest import Entry


def label(entry: Entry) -> str | None:
    """A real picture of the inside of a body may be a clear one; `usable` looks at its pixels."""
    real = not entry.path.startswith("phantom:")
    return "clear" if real and entry.labels.get("view", "clear") == "clear" else None


HEAD = Head(kind="classify", labels=CONDITIONS, label=label, ships=True, hidden=32, usable=usable, spoil=degraded)
