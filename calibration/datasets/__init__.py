"""Data sets as their authors publish them: one file per layout, nothing renamed by hand.

A layout's file says in its docstring what structure it expects and where that is published. It has
`found(root) -> list[Found]`, which lists every picture with its group, split, labels and terms, and raises a
DatasetError that names the first thing that is not as expected. Reading, hashing and decoding are done here.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from calibration import pictures
from calibration.datasets import _tree, phantom
from calibration.manifest import Entry
from calibration.pictures import DatasetError, Sample


class _Layout(Protocol):
    def found(self, root: Path) -> list[_tree.Found]: ...


def layouts() -> tuple[str, ...]:
    """The layouts there are: the files of this folder."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def name_of(layout: str, root: Path) -> str:
    """What a data set is called in the manifest: a plain folder by its own name, a public one by its layout's."""
    if layout == "phantom":
        return f"phantom-{phantom.Spec.parse(root).seed}"
    return root.resolve().name if layout == "folder" else layout


def scan(layout: str, root: Path, progress: Callable[[int, int], None] | None = None) -> list[Entry]:
    """Every picture of a data set, read once: digests, perceptual hash, split, group, labels, terms.

    `root` is the data set's folder; for the phantom "SEED:COUNT" or "SEED:COUNT:SPLIT". `progress(done, total)` is
    called after every picture, on this thread. DatasetError names the first file that is missing, damaged or unknown.
    """
    if layout not in layouts():
        raise DatasetError(f"{layout}: no such layout (there are {', '.join(layouts())})")
    if layout == "phantom":
        return phantom.entries(root)
    module = cast(_Layout, importlib.import_module(f"{__name__}.{layout}"))
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    found, name = module.found(root), name_of(layout, root)
    entries = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for entry in pool.map(lambda one: _tree.entry_of(name, one, root), found):
            entries.append(entry)
            if progress:
                progress(len(entries), len(found))
    return entries


def grey(entry: Entry, root: Path) -> NDArray[np.uint8]:
    """An entry's picture as its perceptual hash saw it: grey, a JPEG's at a fraction of its size."""
    path = root / entry.path
    return _tree.decoded(path, _tree.read(path))[0]


def load(entry: Entry, root: Path) -> Sample:
    """Decode one entry: RGB at full size, recorder's corners blackened if the entry says so, mask or an empty mask."""
    if phantom.is_phantom(entry):
        return phantom.load(entry)
    if entry.mask:
        sample = pictures.read_pair(root / entry.path, root / entry.mask)
        picture, mask = sample.picture, sample.mask
    else:
        picture = pictures.rgb(root / entry.path)
        mask = np.zeros(picture.shape[:2], np.uint8)
    return Sample(entry.path, pictures.without_burnt_in(picture) if entry.burnt_in else picture, mask)
