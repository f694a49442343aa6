"""HyperKvasir, labelled images: 10,662 pictures in 23 classes (Borgli et al., Scientific Data 2020; osf.io/mh9sj).

Expected: `hyper-kvasir-labeled-images/`, `labeled-images/` or what is in it, where a picture's folder is its class:

    {lower,upper}-gi-tract/{anatomical-landmarks,pathological-findings,...}/CLASS/UUID.jpg
    image-labels.csv                               columns Video file (= UUID), Organ, Finding (= CLASS), Classification

or the class folders alone. Both spellings in use are known (cecum, normal-cecum). `image-labels.csv` is checked against
the folders where it is there. Segmented images are another layout, kvasir_seg; unlabelled ones have no use here.

CC BY 4.0. No patient and no split is stated: a picture is its own group, named by its UUID, which it keeps in other
Kvasir data sets. Recorders wrote into the corners of many, so all are marked burnt_in. Grades between two (0-1, 1-2,
2-3) have no Mayo label. Lower-GI classes other than the caecum are "other" for the landmark.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from calibration.datasets._tree import Found, Terms, below, files_in, folders_in, listing, text_of
from calibration.pictures import DatasetError

TERMS = Terms("CC BY 4.0 (HyperKvasir)", ships=True)
NESTING = (
    "lower-gi-tract",
    "upper-gi-tract",
    "anatomical-landmarks",
    "pathological-findings",
    "quality-of-mucosal-views",
    "therapeutic-interventions",
)


@dataclass(frozen=True)
class Class:
    """What a class folder's name means in our words."""

    labels: dict[str, str]
    polyp_free: bool = False


def _colon(polyp_free: bool = True, **labels: str) -> Class:
    return Class({"landmark": "other", **labels}, polyp_free)


_POLYPS = _colon(finding="polyp", polyp_free=False)
_CAECUM = Class({"landmark": "caecum"}, polyp_free=True)
_PYLORUS = Class({"site": "antrum-pylorus"}, polyp_free=True)
_Z_LINE = Class({"site": "cardia-zline"}, polyp_free=True)
_SHORT_BARRETT = Class({"finding": "barrett-short-segment"})
_OESOPHAGITIS_A = Class({"finding": "oesophagitis-a"})
_OESOPHAGITIS_B_D = Class({"finding": "oesophagitis-b-d"})
_UC_BETWEEN = _colon(finding="ulcerative-colitis", polyp_free=False)

CLASSES = {
    "cecum": _CAECUM,
    "normal-cecum": _CAECUM,
    "ileum": _colon(),
    "retroflex-rectum": _colon(),
    "bbps-0-1": _colon(preparation="inadequate"),
    "bbps-2-3": _colon(preparation="adequate"),
    "impacted-stool": _colon(preparation="inadequate"),
    "polyp": _POLYPS,
    "polyps": _POLYPS,
    "dyed-lifted-polyps": _colon(intervention="dyed-lifted-polyp", polyp_free=False),
    "dyed-resection-margins": _colon(intervention="dyed-resection-margin", polyp_free=False),
    "hemorrhoids": _colon(finding="haemorrhoids", polyp_free=False),
    "ulcerative-colitis-grade-0-1": _UC_BETWEEN,
    "ulcerative-colitis-0-1": _UC_BETWEEN,
    "ulcerative-colitis-grade-1": _colon(finding="ulcerative-colitis", mayo="1", polyp_free=False),
    "ulcerative-colitis-grade-1-2": _UC_BETWEEN,
    "ulcerative-colitis-1-2": _UC_BETWEEN,
    "ulcerative-colitis-grade-2": _colon(finding="ulcerative-colitis", mayo="2", polyp_free=False),
    "ulcerative-colitis-grade-2-3": _UC_BETWEEN,
    "ulcerative-colitis-2-3": _UC_BETWEEN,
    "ulcerative-colitis-grade-3": _colon(finding="ulcerative-colitis", mayo="3", polyp_free=False),
    "pylorus": _PYLORUS,
    "normal-pylorus": _PYLORUS,
    "z-line": _Z_LINE,
    "normal-z-line": _Z_LINE,
    "retroflex-stomach": Class({"site": "fundus-retroflex"}, polyp_free=True),
    "barretts": Class({"finding": "barrett"}),
    "barretts-short-segment": _SHORT_BARRETT,
    "short-segment-barretts": _SHORT_BARRETT,
    "esophagitis-a": _OESOPHAGITIS_A,
    "oesophagitis-a": _OESOPHAGITIS_A,
    "esophagitis-b-d": _OESOPHAGITIS_B_D,
    "oesophagitis-b-d": _OESOPHAGITIS_B_D,
}


def class_folders(root: Path) -> list[Path]:
    """The class folders below root, through the archive's own nesting only."""
    result = []
    for folder in folders_in(root):
        result += class_folders(folder) if folder.name in NESTING else [folder]
    return result


def of_classes(root: Path, classes: dict[str, Class], terms: Terms) -> list[Found]:
    """Every picture of every class folder below root."""
    folders = class_folders(root)
    if not folders:
        raise DatasetError(f"{root}: no class folders, expected some of {', '.join(classes)}")
    result = []
    for folder in folders:
        known = classes.get(folder.name)
        if known is None:
            raise DatasetError(f"{folder}: unknown class, expected one of {', '.join(classes)}")
        result += [
            Found(
                path=picture,
                group=f"kvasir/{picture.stem}",
                terms=terms,
                labels=known.labels,
                polyp_free=known.polyp_free,
                burnt_in=True,
            )
            for picture in files_in(folder)
        ]
    return result


def found(root: Path) -> list[Found]:
    root = below(below(root, "hyper-kvasir-labeled-images"), "labeled-images")
    result = of_classes(root, CLASSES, TERMS)
    table = root / "image-labels.csv"
    for path in listing(root):
        if path.is_file() and path != table:
            raise DatasetError(f"{path}: expected class folders and image-labels.csv only")
    if table.is_file():
        _check(table, result)
    return result


def _check(table: Path, result: list[Found]) -> None:
    """Folders and table must say the same."""
    stated = {}
    for number, row in enumerate(csv.DictReader(text_of(table).splitlines()), start=2):
        if not row.get("Video file") or not row.get("Finding"):
            raise DatasetError(f"{table}, line {number}: expected columns Video file and Finding")
        stated[Path(row["Video file"]).stem] = row["Finding"]
    for one in result:
        stated_class = stated.pop(one.path.stem, None)
        if stated_class != one.path.parent.name:
            raise DatasetError(f"{one.path}: {table.name} says its class is {stated_class}")
    for stem, stated_class in stated.items():
        raise DatasetError(f"{table.parent}: {stem} of class {stated_class} is missing, though {table.name} lists it")
