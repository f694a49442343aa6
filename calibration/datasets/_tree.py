"""What the layouts share: folders read strictly, and what they found made into manifest entries.

Strictly means: whatever lies in a data folder is either used or named in a DatasetError; only file managers' litter is
passed over.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calibration.manifest import Entry, Split
from calibration.phash import phash
from calibration.pictures import SUFFIXES, DatasetError
from edge.types import Box

LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Terms:
    """A data set's licence, and whether weights trained on it may leave the house."""

    licence: str
    ships: bool


@dataclass(frozen=True, kw_only=True)
class Found:
    """One picture as a layout found it: nothing of it has been read yet. Fields as in Entry."""

    path: Path
    group: str
    terms: Terms
    split: Split = "train"
    mask: Path | None = None
    polyp_free: bool = False
    burnt_in: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    boxes: tuple[Box, ...] = ()
    lesions: tuple[str, ...] = ()
    frame: int = -1
    size: tuple[int, int] | None = None  # (width, height), where an annotation states it


def listing(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    return sorted(p for p in folder.iterdir() if p.name not in LITTER)


def folders_in(folder: Path) -> list[Path]:
    return [p for p in listing(folder) if p.is_dir()]


def files_in(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """The files of a folder that holds such files and nothing else; at least one."""
    paths = listing(folder)
    for path in paths:
        if path.is_dir() or path.suffix.lower() not in suffixes:
            raise DatasetError(f"{path}: expected only files of {', '.join(suffixes)} in this folder")
    if not paths:
        raise DatasetError(f"{folder}: empty, expected files of {', '.join(suffixes)}")
    return paths


def pairs(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """(picture, mask) of two folders whose files have the same stems; one without the other is an error."""
    by_stem = {p.stem: p for p in files_in(masks)}
    pictures = files_in(images)
    for path in pictures:
        if path.stem not in by_stem:
            raise DatasetError(f"{path}: no mask of that name in {masks}")
    if len(by_stem) > len(pictures):
        lonely = min(by_stem.keys() - {p.stem for p in pictures})
        raise DatasetError(f"{by_stem[lonely]}: no picture of that name in {images}")
    return [(p, by_stem[p.stem]) for p in pictures]


def below(root: Path, name: str) -> Path:
    """The folder `name` in root if there is one (an archive's own top folder), else root."""
    return root / name if (root / name).is_dir() else root


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise DatasetError(f"{path}: cannot be read ({exc.strerror})") from exc


def text_of(path: Path) -> str:
    try:
        return read(path).decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise DatasetError(f"{path}: not UTF-8 text") from exc


def decoded(path: Path, data: bytes) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Grey pixels, a JPEG's at a fraction of its size, and the full (width, height). A cut-off file is an error."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            size = picture.size
            picture.draft("L", (128, 128))
            return np.asarray(picture.convert("L"), np.uint8), size
    except (OSError, SyntaxError, ValueError) as exc:  # Pillow's words for a damaged file
        raise DatasetError(f"{path}: cannot be decoded as a picture ({exc})") from exc


def clipped(path: Path, box: Box, size: tuple[int, int]) -> Box:
    """The part of a box inside the picture; annotators' boxes stand a few pixels out."""
    width, height = size
    x0, y0, x1, y1 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    if x1 <= x0 or y1 <= y0:
        raise DatasetError(f"{path}: box {box} has no area inside a picture of {width}×{height}")
    return x0, y0, x1, y1


def entry_of(dataset: str, found: Found, root: Path) -> Entry:
    """Read picture and mask, and fill in what only the bytes can say: digests, hash, boxes cut to the picture."""
    data = read(found.path)
    grey, size = decoded(found.path, data)
    if found.size and found.size != size:
        raise DatasetError(f"{found.path}: is {size[0]}×{size[1]}, its annotation says {found.size[0]}×{found.size[1]}")
    mask_sha256 = ""
    if found.mask:
        mask = read(found.mask)
        (w, h) = decoded(found.mask, mask)[1]
        if (w, h) != size:
            raise DatasetError(f"{found.mask}: mask is {w}×{h}, its picture {found.path.name} is {size[0]}×{size[1]}")
        mask_sha256 = hashlib.sha256(mask).hexdigest()
    return Entry(
        dataset=dataset,
        path=found.path.relative_to(root).as_posix(),
        sha256=hashlib.sha256(data).hexdigest(),
        split=found.split,
        group=found.group,
        licence=found.terms.licence,
        ships=found.terms.ships,
        mask=found.mask.relative_to(root).as_posix() if found.mask else "",
        mask_sha256=mask_sha256,
        polyp_free=found.polyp_free,
        burnt_in=found.burnt_in,
        labels=found.labels,
        boxes=tuple(clipped(found.path, box, size) for box in found.boxes),
        lesions=found.lesions,
        frame=found.frame,
        phash=phash(grey),
    )
