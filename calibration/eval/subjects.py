"""What the command line asks to be judged, as pictures that are decoded one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from calibration import datasets
from calibration.datasets import phantom
from calibration.eval.detection import Lesion, boxed, lesions_of
from calibration.manifest import Entry
from calibration.pictures import DatasetError, Sample
from edge.errors import UsageError
from edge.phantom.pictures import PER_WALL
from edge.types import Box

JUDGED_SPLITS = ("val", "test")  # what nothing was trained on; all of a dataset that has neither


@dataclass(frozen=True)
class Case:
    """One picture to judge."""

    name: str
    group: str  # patient, sequence or video
    load: Callable[[], Sample]
    masked: bool  # the sample's mask is the truth, empty or not
    boxes: tuple[Box, ...] | None = None  # the truth where only boxes are known
    lesions: tuple[str, ...] = ()  # which lesion each box shows
    labels: Mapping[str, str] = field(default_factory=dict)  # by head
    frame: int = -1  # of the video `group`

    @property
    def located(self) -> bool:
        """It is known where the polyps are, or that there are none."""
        return self.masked or self.boxes is not None

    def lesions_in(self, sample: Sample) -> list[Lesion]:
        return lesions_of(sample.mask) if self.masked else boxed(self.boxes or (), sample.picture)


@dataclass(frozen=True)
class Subject:
    """A set of pictures under one name, never empty."""

    name: str
    cases: tuple[Case, ...]

    @property
    def clips(self) -> dict[str, list[Case]]:
        """Its videos: the frames of each in order, where people boxed the lesions of whole videos."""
        clips: dict[str, list[Case]] = {}
        for case in self.cases:
            if case.boxes is not None and case.frame >= 0:
                clips.setdefault(case.group, []).append(case)
        return {name: sorted(frames, key=lambda case: case.frame) for name, frames in clips.items() if len(frames) > 1}


def of_dataset(layout: str, root: Path, split: str | None = None) -> Subject:
    """A public layout's pictures: of `split`, or of val and test, or all. Raises UsageError, DatasetError."""
    if layout not in datasets.layouts():
        raise UsageError(f"--dataset {layout}: no such layout; there are: {', '.join(datasets.layouts())}")
    entries = _of_split(datasets.scan(layout, root), split)
    if not entries:
        raise DatasetError(f"{root}: {layout} has no pictures{f' of split {split}' if split else ''} to judge")
    by_boxes = any(entry.boxes or entry.frame >= 0 for entry in entries) and not any(entry.mask for entry in entries)
    return Subject(layout, tuple(_case(entry, root, by_boxes) for entry in entries))


def of_phantom(text: str) -> Subject:
    """`SEED:COUNT` pictures of the software colon."""
    return Subject(f"phantom {text}", of_dataset("phantom", Path(text)).cases)


def _of_split(entries: Sequence[Entry], split: str | None) -> list[Entry]:
    if split == "all":
        return list(entries)
    if split is not None:
        return [entry for entry in entries if entry.split == split]
    return [entry for entry in entries if entry.split in JUDGED_SPLITS] or list(entries)


def _case(entry: Entry, root: Path, by_boxes: bool) -> Case:
    drawn = phantom.is_phantom(entry)
    return Case(
        name=entry.path,
        group=_wall(entry) if drawn else entry.group,
        load=partial(_loaded, entry, root),
        masked=not by_boxes and (bool(entry.mask) or entry.polyp_free or drawn),
        boxes=entry.boxes if by_boxes and (entry.boxes or entry.polyp_free) else None,
        lesions=entry.lesions,
        labels=entry.labels,
        frame=entry.frame,
    )


def _wall(entry: Entry) -> str:
    """A seed draws many colons: pictures of one wall are one patient."""
    return f"{entry.group}/{int(entry.path.rpartition(':')[2]) // PER_WALL}"


def _loaded(entry: Entry, root: Path) -> Sample:
    sample = datasets.load(entry, root)
    if sample.mask.shape != sample.picture.shape[:2]:
        (h, w), (mh, mw) = sample.picture.shape[:2], sample.mask.shape
        raise DatasetError(f"{root / entry.path}: its mask is {mw}×{mh}, the picture is {w}×{h}")
    return sample
