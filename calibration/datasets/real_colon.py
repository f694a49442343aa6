"""REAL-Colon: 60 whole colonoscopies, 2.7 million frames, boxes round every removed lesion (Biffi et al., Scientific
Data 2024; figshare.plus 22202866), CC BY 4.0. Expected, for any of the videos SSS-VVV (study-video):

    SSS-VVV_frames/SSS-VVV_T.jpg
    SSS-VVV_annotations/SSS-VVV_T.xml              Pascal VOC; an object has name "lesion", unique_id, bndbox

Every frame has its XML. Splits are the authors': videos 1-10 of each study train, 11-12 val, 13-15 test. A video is one
patient is one group. Only lesions that were removed have boxes; a frame without box counts as free of polyps.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from calibration.datasets._tree import Found, Terms, files_in, folders_in, listing, read
from calibration.manifest import Split
from calibration.pictures import DatasetError
from edge.types import Box

TERMS = Terms("CC BY 4.0 (REAL-Colon)", ships=True)
FRAMES, ANNOTATIONS = "_frames", "_annotations"
TABLES = ("video_info.csv", "lesion_info.csv", "dataset_description.md")
LAST_TRAIN, LAST_VAL = 10, 12
_VIDEO = re.compile(r"\d{3}-(\d{3})")


def found(root: Path) -> list[Found]:
    for path in listing(root):
        if path.is_file() and path.name not in TABLES:
            raise DatasetError(f"{path}: expected folders SSS-VVV{FRAMES}, SSS-VVV{ANNOTATIONS} and {TABLES}")
    names = {p.name for p in folders_in(root)}
    videos = sorted({name.removesuffix(FRAMES).removesuffix(ANNOTATIONS) for name in names})
    if not videos:
        raise DatasetError(f"{root}: no videos, expected folders SSS-VVV{FRAMES} and SSS-VVV{ANNOTATIONS}")
    return [frame for video in videos for frame in _video(root, video)]


def _video(root: Path, video: str) -> list[Found]:
    match = _VIDEO.fullmatch(video)
    if not match:
        raise DatasetError(f"{root / video}: expected a folder SSS-VVV{FRAMES} or SSS-VVV{ANNOTATIONS}")
    number = int(match[1])
    split: Split = "train" if number <= LAST_TRAIN else "val" if number <= LAST_VAL else "test"
    frames = {p.stem: p for p in files_in(root / (video + FRAMES), (".jpg",))}
    annotations = {p.stem: p for p in files_in(root / (video + ANNOTATIONS), (".xml",))}
    for stem in sorted(frames.keys() ^ annotations.keys()):
        missing = f"{video}{ANNOTATIONS}/{stem}.xml" if stem in frames else f"{video}{FRAMES}/{stem}.jpg"
        raise DatasetError(f"{root / missing}: missing, expected one XML for every frame")
    order = sorted(frames, key=lambda stem: _time(frames[stem], video))
    return [_frame(frames[stem], annotations[stem], video, split) for stem in order]


def _time(path: Path, video: str) -> int:
    name, _, time = path.stem.rpartition("_")
    if name != video or not time.isdigit():
        raise DatasetError(f"{path}: expected a name {video}_T, T the frame's number")
    return int(time)


def _frame(picture: Path, annotation: Path, video: str, split: Split) -> Found:
    try:
        tree = ET.fromstring(read(annotation))
        size = int(_number(tree, "size/width")), int(_number(tree, "size/height"))
        objects = [_object(annotation, element) for element in tree.iter("object")]
    except (ET.ParseError, ValueError) as exc:
        raise DatasetError(f"{annotation}: not the Pascal VOC expected ({exc})") from exc
    return Found(
        path=picture,
        group=f"real_colon/{video}",
        split=split,
        terms=TERMS,
        polyp_free=not objects,
        boxes=tuple(box for _, box in objects),
        lesions=tuple(lesion for lesion, _ in objects),
        frame=_time(picture, video),
        size=size,
    )


def _object(annotation: Path, element: ET.Element) -> tuple[str, Box]:
    name, lesion = element.findtext("name"), element.findtext("unique_id")
    if name != "lesion" or not lesion:
        raise DatasetError(f"{annotation}: an object is a {name}, expected a lesion with a unique_id")
    x0, y0, x1, y1 = (_number(element, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
    return f"real_colon/{lesion}", (x0, y0, x1, y1)


def _number(element: ET.Element, path: str) -> float:
    return float(element.findtext(path, f"no {path}"))
