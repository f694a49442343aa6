"""Kvasir-SEG: 1,000 polyp pictures with masks (Jha et al., MMM 2020; datasets.simula.no/kvasir-seg).

The same 1,000 pictures are HyperKvasir's "segmented images" (Borgli et al., Scientific Data 2020), CC BY 4.0; those
terms are stated here. Expected:

    images/STEM.jpg  masks/STEM.jpg or .png        both archives, names as published
    kavsir_bboxes.json or bounding-boxes.json      {"STEM": {"width", "height", "bbox": [{"label", "xmin", ...}]}}
    train.txt  val.txt                             stems, one a line: the authors' 880 + 120 split, if they are there

or `train/`, `val/`, `test/` with images/ and masks/ in each. Without a split all is train. No patient is known, so each
picture is its own group.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from calibration.datasets._tree import Found, Terms, below, pairs, read, text_of
from calibration.manifest import SPLITS, Split
from calibration.pictures import DatasetError
from edge.types import Box

TERMS = Terms("CC BY 4.0 (HyperKvasir segmented images)", ships=True)
BOX_FILES = ("kavsir_bboxes.json", "bounding-boxes.json")  # the first is spelt so


class _Box(msgspec.Struct):
    label: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float


class _Boxes(msgspec.Struct):
    width: int
    height: int
    bbox: list[_Box]


def found(root: Path) -> list[Found]:
    root = below(root, "Kvasir-SEG")
    parts: list[tuple[Split, Path]] = [(split, root / split) for split in SPLITS if (root / split).is_dir()]
    if parts and not (root / "images").is_dir():
        return [one for split, folder in parts for one in _part(folder, split)]
    return _listed(root, _part(root, "train"))


def _part(folder: Path, split: Split) -> list[Found]:
    boxes = _boxes(folder)
    result = []
    for picture, mask in pairs(folder / "images", folder / "masks"):
        stated = boxes.get(picture.stem)
        if boxes and not stated:
            raise DatasetError(f"{picture}: not in the boxes' file beside it")
        result.append(
            Found(
                path=picture,
                mask=mask,
                split=split,
                group=f"kvasir_seg/{picture.relative_to(folder.parent).with_suffix('').as_posix()}",
                terms=TERMS,
                boxes=tuple(_xyxy(picture, box) for box in stated.bbox) if stated else (),
                size=(stated.width, stated.height) if stated else None,
            )
        )
    return result


def _boxes(folder: Path) -> dict[str, _Boxes]:
    for path in (folder / name for name in BOX_FILES):
        if path.is_file():
            try:
                return msgspec.json.decode(read(path), type=dict[str, _Boxes])
            except msgspec.DecodeError as exc:
                raise DatasetError(f"{path}: {exc}") from exc
    return {}


def _xyxy(picture: Path, box: _Box) -> Box:
    if box.label != "polyp":
        raise DatasetError(f"{picture}: a box is labelled {box.label}, expected polyp")
    return box.xmin, box.ymin, box.xmax, box.ymax


def _listed(root: Path, all_found: list[Found]) -> list[Found]:
    """The same with the authors' split, if root has its two lists."""
    lists: dict[Split, Path] = {"train": root / "train.txt", "val": root / "val.txt"}
    if not any(path.is_file() for path in lists.values()):
        return all_found
    split_of: dict[str, Split] = {stem: split for split, path in lists.items() for stem in text_of(path).split()}
    stems = {one.path.stem for one in all_found}
    for stem in sorted(stems ^ split_of.keys()):
        raise DatasetError(f"{root}: {stem} is in only one of images/ and the lists train.txt, val.txt")
    return [replace(one, split=split_of[one.path.stem]) for one in all_found]
