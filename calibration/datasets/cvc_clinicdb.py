"""CVC-ClinicDB: 612 frames 384×288 of 29 colonoscopy sequences with masks (Bernal et al., CMIG 2015).

Expected, as polyp.grand-challenge.org publishes it (mirrors have .png for .tif):

    Original/N.tif  Ground Truth/N.tif             N = 1..612; a sequence is a run of neighbouring numbers

or with a table of its own:

    images/NNN.jpg  masks/NNN.png  frames.csv      columns frame, sequence, boxes_xyxy (JSON, source pixels)

Research and educational use only: always a test set here, and never in weights that ship. A sequence is a group.
"""

from __future__ import annotations

import bisect
import csv
from pathlib import Path

import msgspec

from calibration.datasets._tree import Found, Terms, below, pairs, text_of
from calibration.pictures import DatasetError
from edge.types import Box

TERMS = Terms("research and educational use only (CVC-ClinicDB)", ships=False)
FRAMES = 612
# First frame of each sequence, from the table that comes with the data.
# fmt: off
FIRST = (
    1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298,
    318, 343, 364, 384, 409, 429, 448, 467, 479, 504, 529, 547, 572, 592,
)
# fmt: on


class _Row(msgspec.Struct):
    frame: str
    sequence: int
    boxes_xyxy: str


def found(root: Path) -> list[Found]:
    root = below(root, "CVC-ClinicDB")
    table = root / "frames.csv"
    if table.is_file():
        return _tabled(root, table)
    return [_frame(p, m, _sequence(p)) for p, m in pairs(root / "Original", root / "Ground Truth")]


def _number(picture: Path) -> int:
    if not picture.stem.isdigit() or not 1 <= int(picture.stem) <= FRAMES:
        raise DatasetError(f"{picture}: expected a frame's number, 1 to {FRAMES}, as its name")
    return int(picture.stem)


def _sequence(picture: Path) -> int:
    return bisect.bisect_right(FIRST, _number(picture))


def _frame(picture: Path, mask: Path, sequence: int, boxes: tuple[Box, ...] = ()) -> Found:
    lesion = f"cvc_clinicdb/{sequence}"  # one polyp a sequence
    return Found(
        path=picture,
        mask=mask,
        split="test",
        group=lesion,
        terms=TERMS,
        boxes=boxes,
        lesions=(lesion,) * len(boxes),
        frame=_number(picture),
    )


def _tabled(root: Path, table: Path) -> list[Found]:
    rows: dict[str, tuple[int, tuple[Box, ...]]] = {}
    for number, line in enumerate(csv.DictReader(text_of(table).splitlines()), start=2):
        try:
            row = msgspec.convert(line, _Row, strict=False)
            rows[row.frame] = row.sequence, msgspec.json.decode(row.boxes_xyxy, type=tuple[Box, ...])
        except msgspec.DecodeError as exc:
            raise DatasetError(f"{table}, line {number}: {exc}") from exc
    result = []
    for picture, mask in pairs(root / "images", root / "masks"):
        if picture.stem not in rows:
            raise DatasetError(f"{picture}: not in {table}")
        sequence, boxes = rows.pop(picture.stem)
        result.append(_frame(picture, mask, sequence, boxes))
    for frame in rows:
        raise DatasetError(f"{root / 'images' / frame}: missing, though {table} lists it")
    return result
