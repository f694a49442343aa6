"""The phantom: EndoEdge's software colon, rendered by `edge.phantom` and stored nowhere.

Its "folder" is `SEED:COUNT` or `SEED:COUNT:SPLIT` (test by default): pictures 0 to COUNT-1 of that seed, 400×320 before
they are cut to the field. Two seeds never share a picture, so a seed is a group. The digest is of the picture's
recipe (phantom version, seed, index), and there is no perceptual hash.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from calibration.datasets._tree import Terms
from calibration.manifest import SPLITS, Entry, Split
from calibration.pictures import DatasetError, Sample, squashed
from edge.phantom import VERSION, training_pictures
from edge.phantom.pictures import PER_WALL

TERMS = Terms("Apache-2.0 (this project's own work)", ships=True)
WIDTH, HEIGHT = 400, 320
_SPEC = re.compile(rf"(\d+):([1-9]\d*)(?::({'|'.join(SPLITS)}))?")
_PATH = re.compile(r"phantom:(\d+):(\d+)")


@dataclass(frozen=True)
class Spec:
    """What the data set's "folder" says."""

    seed: int
    count: int
    split: Split

    @staticmethod
    def parse(root: Path) -> Spec:
        match = _SPEC.fullmatch(str(root))
        if not match:
            raise DatasetError(f"{root}: expected SEED:COUNT or SEED:COUNT:SPLIT, SPLIT one of {', '.join(SPLITS)}")
        return Spec(int(match[1]), int(match[2]), cast(Split, match[3] or "test"))


def digest(seed: int, index: int) -> str:
    return hashlib.sha256(f"phantom {VERSION} {seed} {index} {WIDTH}x{HEIGHT}".encode()).hexdigest()


def entries(root: Path) -> list[Entry]:
    """The entries of a seed. Nothing is rendered."""
    spec = Spec.parse(root)
    return [
        Entry(
            dataset=f"phantom-{spec.seed}",
            path=f"phantom:{spec.seed}:{index}",
            sha256=digest(spec.seed, index),
            split=spec.split,
            group=f"phantom/{spec.seed}",
            licence=TERMS.licence,
            ships=TERMS.ships,
        )
        for index in range(spec.count)
    ]


def is_phantom(entry: Entry) -> bool:
    return entry.path.startswith("phantom:")


def load(entry: Entry) -> Sample:
    """Render one entry, cut to the field as the box cuts it. Going through them in order is cheapest: PER_WALL pictures
    share a wall, which takes seconds to make, and the last two walls are kept."""
    match = _PATH.fullmatch(entry.path)
    if not match:
        raise DatasetError(f"{entry.path}: expected phantom:SEED:INDEX")
    seed, index = int(match[1]), int(match[2])
    if entry.sha256 != digest(seed, index):
        raise DatasetError(f"{entry.path}: of another version of the phantom; write the manifest again")
    return _wall(seed, index - index % PER_WALL).sample(index % PER_WALL)


def samples(seed: int, count: int, side: int) -> Iterator[Sample]:
    """The first pictures of a seed, squashed to side x side."""
    for entry in entries(Path(f"{seed}:{count}")):
        yield squashed(load(entry), side)


class _Wall:
    """The pictures of one wall, each drawn when it or a later one is first asked for. Any thread may ask."""

    def __init__(self, seed: int, first: int) -> None:
        self._name = f"phantom:{seed}:"
        self._first = first
        self._drawing = training_pictures(seed, first + PER_WALL, WIDTH, HEIGHT, first=first)
        self._drawn: list[Sample] = []
        self._lock = threading.Lock()

    def sample(self, offset: int) -> Sample:
        with self._lock:
            while len(self._drawn) <= offset:
                self._drawn.append(self._next())
            return self._drawn[offset]

    def _next(self) -> Sample:
        picture, mask, field = next(self._drawing)
        x, y, w, h = cv2.boundingRect(field.astype(np.uint8))
        inside = np.s_[y : y + h, x : x + w]
        name = f"{self._name}{self._first + len(self._drawn)}"
        return Sample(name, picture[inside], np.where(mask[inside], 255, 0).astype(np.uint8))


@lru_cache(maxsize=2)
def _wall(seed: int, first: int) -> _Wall:
    return _Wall(seed, first)
