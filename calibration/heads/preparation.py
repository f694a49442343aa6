"""Is the bowel clean enough to look at? Boston scale 2-3 against 0-1 and impacted stool."""

from __future__ import annotations

from calibration.heads import Head, Mix
from calibration.manifest import LABELS, Entry
from calibration.residue import soiled


def label(entry: Entry) -> str | None:
    return entry.labels.get("preparation")


# Residue is a matter of colour, which stride 4 has. Deeper levels were trained to find polyps in any light; what they
# add for this head is whose bowel it is, and so do large weights (calibration/README.md has the figures).
HEAD = Head(
    kind="classify",
    labels=LABELS["preparation"],
    label=label,
    ships=True,
    mix=Mix(into="adequate", of="inadequate", make=soiled),
    parts=1,
    ridge=5.0,
)
