"""How inflamed is an ulcerative colitis? Mayo endoscopic score 0 to 3, ordinal. Not shipped until measured."""

from __future__ import annotations

from calibration.heads import Head
from calibration.manifest import LABELS, Entry


def label(entry: Entry) -> str | None:
    return entry.labels.get("mayo")


HEAD = Head(kind="ordinal", labels=LABELS["mayo"], label=label, ships=False)
