"""Kvasir v2: 8,000 pictures in 8 classes (Pogorelov et al., MMSys 2017; datasets.simula.no/kvasir).

Expected, with or without the archive's top folder kvasir-dataset-v2: CLASS/UUID.jpg. Research and education only, so
never in weights that ship. No patient and no split is stated: a picture is its own group, by the UUID that HyperKvasir
also uses.
"""

from __future__ import annotations

from pathlib import Path

from calibration.datasets._tree import Found, Terms, below
from calibration.datasets.hyperkvasir import CLASSES as HYPERKVASIR
from calibration.datasets.hyperkvasir import Class, of_classes

TERMS = Terms("research and educational use only (Kvasir)", ships=False)
UNGRADED = {
    "esophagitis": Class({"finding": "oesophagitis"}),
    "ulcerative-colitis": Class({"finding": "ulcerative-colitis", "landmark": "other"}),
}
SHARED = ("dyed-lifted-polyps", "dyed-resection-margins", "normal-cecum", "normal-pylorus", "normal-z-line", "polyps")
CLASSES = {**UNGRADED, **{name: HYPERKVASIR[name] for name in SHARED}}


def found(root: Path) -> list[Found]:
    return of_classes(below(root, "kvasir-dataset-v2"), CLASSES, TERMS)
