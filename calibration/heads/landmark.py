"""Is the caecum reached? Lower GI: the caecum's pictures against everything else in the colon, polyps included."""

from __future__ import annotations

from calibration.heads import Head
from calibration.manifest import LABELS, Entry


def label(entry: Entry) -> str | None:
    """A picture with a polyp's mask is of the colon, and hardly ever of the caecum's pole."""
    return entry.labels.get("landmark", "other" if entry.mask else None)


HEAD = Head(kind="classify", labels=LABELS["landmark"], label=label, ships=True)
