"""A plain folder of one's own. Expected, below SPLIT = train, val, test, or at the top for train alone:

    SPLIT/CLASS/pictures                           CLASS one of CLASSES: HyperKvasir, Mayo, upper-GI sites
    SPLIT/images/STEM.*  SPLIT/masks/STEM.*        polyps with masks

Beside it or above it there may be

    dataset.toml                                   licence, ships, burnt_in; "none stated" otherwise
    classification.csv                             path (from here), dataset, label, split, group

A table that mentions this folder must list every picture of it, and agree with where it lies. Without a table a picture
is its own group. Files named kv1_* are Kvasir v1's, whatever else is said: research only, never in weights that ship.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import msgspec

from calibration.datasets import hyperkvasir, kvasir_v2
from calibration.datasets._tree import Found, Terms, files_in, folders_in, pairs, text_of
from calibration.datasets.hyperkvasir import Class
from calibration.manifest import LABELS, SPLITS, Split
from calibration.pictures import DatasetError
from edge.config import decode_toml

TABLE, ABOUT = "classification.csv", "dataset.toml"
NONE_STATED = Terms("none stated", ships=False)
KVASIR_V1 = "kv1_"

CLASSES = {
    **kvasir_v2.CLASSES,
    **hyperkvasir.CLASSES,
    **{f"mayo{score}": Class({"mayo": score, "finding": "ulcerative-colitis"}) for score in LABELS["mayo"]},
    **{site: Class({"site": site}) for site in LABELS["site"]},
    "antrum": Class({"site": "antrum-pylorus"}),
    "room": Class({"view": "out_of_body"}, polyp_free=True),
    "instrument": Class({"tool": "instrument"}),
    "scope-shaft": Class({"tool": "scope-shaft"}),
}


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dataset.toml`."""

    licence: str = NONE_STATED.licence
    ships: bool = False
    burnt_in: bool = False


# Terms by how classification.csv's column `dataset` begins, the longest match first.
SOURCES = {
    "HyperKvasir": About(hyperkvasir.TERMS.licence, ships=True, burnt_in=True),
    "Kvasir-Instrument": About("CC BY 4.0 (Kvasir-Instrument)", ships=True, burnt_in=True),
    "Kvasir": About(kvasir_v2.TERMS.licence, burnt_in=True),
    "": About(),
}


class _Row(msgspec.Struct):
    path: str
    dataset: str
    label: str
    split: Split
    group: str


def found(root: Path) -> list[Found]:
    parts: list[tuple[Split, Path]] = [(split, root / split) for split in SPLITS if (root / split).is_dir()]
    result = [one for split, folder in parts or [("train", root)] for one in _part(root, folder, split)]
    about = _about(root)
    result = [replace(one, terms=Terms(about.licence, about.ships), burnt_in=about.burnt_in) for one in result]
    for base in (root, root.parent):
        if (base / TABLE).is_file():
            result = _tabled(base, root, result)
            break
    return [replace(one, terms=kvasir_v2.TERMS) if one.path.name.startswith(KVASIR_V1) else one for one in result]


def _part(root: Path, folder: Path, split: Split) -> list[Found]:
    if (folder / "images").is_dir():
        return [
            Found(path=picture, mask=mask, split=split, group=_own_group(root, picture), terms=NONE_STATED)
            for picture, mask in pairs(folder / "images", folder / "masks")
        ]
    classes = folders_in(folder)
    if not classes:
        raise DatasetError(f"{folder}: neither images/ and masks/ nor class folders in it")
    result = []
    for path in classes:
        known = CLASSES.get(path.name)
        if known is None:
            raise DatasetError(f"{path}: unknown class, expected one of {', '.join(sorted(CLASSES))}")
        result += [
            Found(
                path=picture,
                split=split,
                group=_own_group(root, picture),
                terms=NONE_STATED,
                labels=known.labels,
                polyp_free=known.polyp_free,
            )
            for picture in files_in(path)
        ]
    return result


def _own_group(root: Path, picture: Path) -> str:
    return f"{root.resolve().name}/{picture.relative_to(root).with_suffix('').as_posix()}"


def _about(root: Path) -> About:
    path = root / ABOUT
    return decode_toml(path, About, DatasetError) if path.is_file() else About()


def _tabled(base: Path, root: Path, result: list[Found]) -> list[Found]:
    """The same with the table's groups and terms, if the table in `base` mentions this folder."""
    table = base / TABLE
    rows = {path: row for path, row in _rows(table).items() if (base / path).is_relative_to(root)}
    if not rows:
        return result
    told = []
    for one in result:
        row = rows.pop(one.path.relative_to(base).as_posix(), None)
        if row is None:
            raise DatasetError(f"{one.path}: not in {table}")
        if (row.split, row.label) != (one.split, one.path.parent.name):
            raise DatasetError(f"{one.path}: {table} says {row.split}, {row.label}")
        source = SOURCES[max((s for s in SOURCES if row.dataset.startswith(s)), key=len)]
        terms = Terms(source.licence, source.ships)
        told.append(replace(one, group=row.group, terms=terms, burnt_in=source.burnt_in))
    for path in rows:
        raise DatasetError(f"{base / path}: missing, though {table} lists it")
    return told


def _rows(table: Path) -> dict[str, _Row]:
    rows = {}
    for number, line in enumerate(csv.DictReader(text_of(table).splitlines()), start=2):
        try:
            row = msgspec.convert(line, _Row)
        except msgspec.ValidationError as exc:
            raise DatasetError(f"{table}, line {number}: {exc}") from exc
        rows[row.path] = row
    return rows
