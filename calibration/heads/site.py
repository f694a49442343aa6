"""Where in the upper GI tract? Ten sites: proof that a frozen encoder learns them. Its data may not be shipped."""

from __future__ import annotations

from calibration.heads import Head
from calibration.manifest import LABELS, Entry


def label(entry: Entry) -> str | None:
    return entry.labels.get("site")


# The stomach's curvatures are mirror images of each other: a flipped picture would be another site's.
HEAD = Head(kind="classify", labels=LABELS["site"], label=label, ships=False, flips=False)
