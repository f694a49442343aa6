"""SUN colonoscopy video database: 100 polyps in 49,136 frames with boxes, 109,554 frames without polyps of 13 cases
(Misawa et al., GIE 2021; amed8k.sundatabase.org). Expected, as the archives unpack:

    sundatabase_positive_part{1,2}/caseN/*.jpg     frames in the order of their names
    sundatabase_positive_part1/annotation_txt/caseN.txt    "FILE x0,y0,x1,y1,CLASS" a line; CLASS 0 polyp, 1 none
    sundatabase_negative_part{1..4}/caseN/*.jpg

or the same with folders whose names contain "positive" and "negative". Every positive frame has a line. Boxes may stand
out of the picture and are cut. A case is a group, and one polyp.

On request, for research only, never to be given on: always a test set here, for video figures.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from calibration.datasets._tree import Found, Terms, files_in, folders_in, text_of
from calibration.pictures import DatasetError
from edge.types import Box

TERMS = Terms("research use only, by agreement (SUN database)", ships=False)
ANNOTATIONS = "annotation_txt"
POLYP, NO_POLYP = "0", "1"
_LINE = re.compile(r"(\S+)\s+(-?\d+),\s*(-?\d+),\s*(-?\d+),\s*(-?\d+),\s*(\d+)")


def found(root: Path) -> list[Found]:
    positive, negative, annotations = _cases(root)
    result = []
    for case, folders in positive.items():
        if case not in annotations:
            raise DatasetError(f"{root}: {case} has frames but no {ANNOTATIONS}/{case}.txt")
        result += _positive(case, folders, annotations.pop(case))
    for case, path in annotations.items():
        raise DatasetError(f"{path}: annotates {case}, whose frames are missing")
    for case, folders in negative.items():
        group = f"sun/negative-{case}"
        frames = [frame for folder in folders for frame in files_in(folder)]
        result += [
            Found(path=frame, split="test", group=group, terms=TERMS, polyp_free=True, frame=index)
            for index, frame in enumerate(frames)
        ]
    return result


def _cases(root: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]], dict[str, Path]]:
    """Folders of the positive cases, of the negative ones, and the annotations; by case."""
    positive: dict[str, list[Path]] = defaultdict(list)
    negative: dict[str, list[Path]] = defaultdict(list)
    annotations: dict[str, Path] = {}
    for part in folders_in(root):
        cases = {"positive": positive, "negative": negative}
        kinds = [kind for kind in cases if kind in part.name.lower()]
        if len(kinds) != 1:
            raise DatasetError(f"{part}: expected folders with positive or negative in their names")
        for folder in folders_in(part):
            if folder.name == ANNOTATIONS:
                annotations.update({path.stem: path for path in files_in(folder, (".txt",))})
            elif folder.name.startswith("case"):
                cases[kinds[0]][folder.name].append(folder)
            else:
                raise DatasetError(f"{folder}: expected caseN or {ANNOTATIONS}")
    if not positive and not negative:
        raise DatasetError(f"{root}: no cases, expected sundatabase_positive_part1/case1 and so on")
    return positive, negative, annotations


def _positive(case: str, folders: list[Path], annotation: Path) -> list[Found]:
    lines: dict[str, list[Box]] = {}
    for number, line in enumerate(text_of(annotation).splitlines(), start=1):
        match = _LINE.fullmatch(line.strip())
        if not match or match[6] not in (POLYP, NO_POLYP):
            raise DatasetError(f"{annotation}, line {number}: expected FILE x0,y0,x1,y1,CLASS with class 0 or 1")
        boxes = lines.setdefault(match[1], [])
        if match[6] == POLYP:
            boxes.append((float(match[2]), float(match[3]), float(match[4]), float(match[5])))
    result = []
    for index, frame in enumerate(frame for folder in folders for frame in files_in(folder)):
        if frame.name not in lines:
            raise DatasetError(f"{frame}: not in {annotation}")
        boxes = lines.pop(frame.name)
        result.append(
            Found(
                path=frame,
                split="test",
                group=f"sun/{case.partition('_')[0]}",
                terms=TERMS,
                polyp_free=not boxes,
                boxes=tuple(boxes),
                lesions=(f"sun/{case.partition('_')[0]}",) * len(boxes),
                frame=index,
            )
        )
    for name in lines:
        raise DatasetError(f"{folders[0] / name}: missing, though {annotation} lists it")
    return result
