"""What disease is it? The pathological classes of HyperKvasir. Not shipped until measured on enough of them."""

from __future__ import annotations

from calibration.heads import Head
from calibration.manifest import LABELS, Entry


def label(entry: Entry) -> str | None:
    return entry.labels.get("finding")


HEAD = Head(kind="classify", labels=LABELS["finding"], label=label, ships=False, hidden=64)
