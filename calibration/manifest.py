"""The manifest: every picture a model may be made of or judged by, written once, one JSON object a line.

The first line is a Header, every other line an Entry. Paths are relative to the entry's dataset root, which the header
names; `endoedge-model manifest` writes the file and everything else only reads it.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from calibration.pictures import DatasetError
from edge.types import Box, Struct

T = TypeVar("T", "Header", "Entry")
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

# Our words, by head, in the order of a head's outputs.
LABELS: dict[str, tuple[str, ...]] = {
    "landmark": ("other", "caecum"),
    "site": (
        "pharynx-larynx",
        "esophagus",
        "cardia-zline",
        "fundus-retroflex",
        "gastric-body",
        "greater-curvature",
        "lesser-curvature-angulus",
        "antrum-pylorus",
        "duodenal-bulb",
        "duodenum",
    ),
    "preparation": ("adequate", "inadequate"),
    "view": ("clear", "blurred", "over_exposed", "under_exposed", "obscured", "out_of_body"),
    "mayo": ("0", "1", "2", "3"),
    "finding": (
        "polyp",
        "ulcerative-colitis",
        "haemorrhoids",
        "barrett",
        "barrett-short-segment",
        "oesophagitis",
        "oesophagitis-a",
        "oesophagitis-b-d",
    ),
    "intervention": ("dyed-lifted-polyp", "dyed-resection-margin"),
    "tool": ("instrument", "scope-shaft"),
}


class Root(Struct, frozen=True, kw_only=True):
    """Where one dataset lies: the layout that read it and its folder, absolute or relative to the manifest."""

    dataset: str
    layout: str  # the file of calibration/datasets/ that understands the folder
    path: str


class Header(Struct, frozen=True, kw_only=True):
    """The manifest's first line."""

    version: Literal[1] = 1
    roots: tuple[Root, ...]


class Entry(Struct, frozen=True, kw_only=True):
    """One picture, or one frame of a video. `labels` holds our words by head: {"landmark": "caecum"}."""

    dataset: str
    path: str  # relative to the dataset's root; "phantom:SEED:INDEX" for a picture that is rendered
    sha256: str
    split: Split
    group: str  # patient, sequence, video or exam day: never in two splits
    licence: str
    ships: bool  # may weights that leave the house be trained on it?
    mask: str = ""  # relative path of the polyp mask; "" where there is none
    mask_sha256: str = ""
    polyp_free: bool = False  # known to show no polyp: an empty mask is the truth
    burnt_in: bool = False  # recorder's text or inset in the corners: blacken before use
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    boxes: tuple[Box, ...] = ()  # xyxy in the picture's own pixels
    lesions: tuple[str, ...] = ()  # which lesion each box shows, where the data set says so
    frame: int = -1  # index in the video; -1 for a still
    phash: str = ""  # perceptual hash, 16 hexadecimal digits, for near-duplicates


@dataclass(frozen=True)
class Manifest:
    """A manifest that was read: where it lies, its header and its entries."""

    path: Path
    header: Header
    entries: tuple[Entry, ...]
    _roots: dict[str, Path] = field(repr=False)

    def root(self, entry: Entry) -> Path:
        """The folder that the entry's paths are relative to."""
        return self._roots[entry.dataset]


def write(path: Path, roots: Sequence[Root], entries: Sequence[Entry]) -> None:
    """Write a manifest in one step: a reader sees the whole file or none.

    DatasetError if it exists already, or if the entries are not ones that `read` would take.
    """
    if path.exists():
        raise DatasetError(f"{path}: exists already; a manifest is written once, give another name")
    header = Header(roots=tuple(roots))
    for fault in faults(header, entries):
        raise DatasetError(f"{path}: {fault}")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        for line in (header, *entries):
            file.write(msgspec.json.encode(line) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def read(path: Path) -> Manifest:
    """Read a manifest and check it against itself; `verify` checks it against the files."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as exc:
        raise DatasetError(f"{path}: cannot be read ({exc.strerror}); `endoedge-model manifest` writes one") from exc
    header = _decoded(path, 1, lines[0] if lines else b"", Header)
    entries = tuple(_decoded(path, number, line, Entry) for number, line in enumerate(lines[1:], start=2))
    for fault in faults(header, entries):
        raise DatasetError(f"{path}: {fault}")
    return Manifest(path, header, entries, {root.dataset: _folder(path, root) for root in header.roots})


def _decoded(path: Path, number: int, line: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError as exc:
        raise DatasetError(f"{path}, line {number}: not a manifest's {kind.__name__.lower()} ({exc})") from exc


def _folder(path: Path, root: Root) -> Path:
    """The phantom's "folder" is no path."""
    return Path(root.path) if root.layout == "phantom" else path.parent / root.path


def faults(header: Header, entries: Sequence[Entry]) -> Iterator[str]:
    """What is wrong with a manifest as it stands, without looking at any file."""
    if not entries:
        yield "no pictures"
    datasets = [root.dataset for root in header.roots]
    if len(set(datasets)) < len(datasets):
        yield f"a data set is there twice, or two have the same name: {', '.join(datasets)}"
    splits: dict[str, dict[Split, Entry]] = defaultdict(dict)
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        if entry.dataset not in datasets:
            yield f"{entry.path}: of {entry.dataset}, which the header does not name"
        if (entry.dataset, entry.path) in seen:
            yield f"{entry.path}: twice in {entry.dataset}"
        seen.add((entry.dataset, entry.path))
        for head, label in entry.labels.items():
            if label not in LABELS.get(head, ()):
                yield f"{entry.path}: label {head} = {label}, expected one of {LABELS.get(head) or tuple(LABELS)}"
        splits[entry.group].setdefault(entry.split, entry)
        splits["sha256 " + entry.sha256].setdefault(entry.split, entry)
    for group, by_split in splits.items():
        if len(by_split) > 1:
            where = ", ".join(f"{entry.dataset}/{entry.path} ({split})" for split, entry in by_split.items())
            yield f"group {group} is in more than one split: {where}"


def damage(manifest: Manifest) -> Iterator[str]:
    """Every file that is missing or not the one that was listed, by name."""
    for entry in manifest.entries:
        if entry.path.startswith("phantom:"):
            continue
        for name, sha256 in ((entry.path, entry.sha256), (entry.mask, entry.mask_sha256)):
            if not name:
                continue
            path = manifest.root(entry) / name
            if not path.is_file():
                yield f"{path}: missing"
            elif hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                yield f"{path}: not the file that the manifest lists (its digest differs)"


def verify(manifest: Manifest) -> None:
    """DatasetError unless every file is there with its digest; it names the first and counts the rest."""
    if wrong := list(damage(manifest)):
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise DatasetError(f"{wrong[0]}{more}")
