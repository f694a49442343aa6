"""Manifest entries as examples of a head, and what a model's frozen encoder says of them, kept on disk.

A view is a pure function of (picture, head, seed, number), so what was computed once is never computed again: the
cache's key is the digest of the model's file, of the picture, and of the code that makes views.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.random import Generator
from numpy.typing import NDArray

from calibration import arrays, augment, datasets, degrade, pictures, residue, views
from calibration.datasets import phantom
from calibration.heads import Head
from calibration.learn import Array, Examples
from calibration.manifest import Entry, Manifest, Split
from calibration.pictures import DatasetError, Picture
from edge.phantom import training_distances
from edge.phantom.pictures import PER_WALL

FEWEST = {"train": 8, "val": 4}  # pictures of each class, below which nothing can be learned or said
FEWEST_GROUPS = 2  # of each class in training: one is held out to know when to stop
NEAREST = 0.05  # tube radii: closer than any wall, and what stands for "outside the field"
CODE = (views, augment, degrade, residue, pictures)  # what a view depends on


@dataclass(frozen=True)
class Chosen:
    """The entries a head learns from or is judged on, each with its label; and how many the licence kept out."""

    entries: tuple[tuple[Entry, str], ...]
    left_out: int = 0

    def counts(self, labels: Sequence[str]) -> dict[str, int]:
        found = Counter(label for _, label in self.entries)
        return {label: found[label] for label in labels if found[label]}


def chosen(manifest: Manifest, name: str, head: Head, split: Split, unshippable: bool) -> Chosen:
    """The split's entries that say something about the head. DatasetError: a label outside the list, too few.

    Training of a head that ships leaves out what may not be shipped, unless `unshippable`; judging takes everything.
    """
    found, left_out = [], 0
    for entry in manifest.entries:
        label = head.label(entry) if entry.split == split else None
        if label is None:
            continue
        if label not in head.labels:
            place = f"{manifest.path}: {entry.dataset}/{entry.path}"
            raise DatasetError(f"{place}: {name} {label!r} is none of {', '.join(head.labels)}")
        if split == "train" and head.ships and not entry.ships and not unshippable:
            left_out += 1
            continue
        found.append((entry, label))
    result = Chosen(tuple(found), left_out)
    _check(manifest, name, head, split, result)
    return result


def _check(manifest: Manifest, name: str, head: Head, split: Split, found: Chosen) -> None:
    """Every class is there, often enough and, in training, from more than one group."""
    classes = sorted({label for _, label in found.entries}) if head.spoil else head.labels
    kept_out = f" ({found.left_out} left out by licence)" if found.left_out else ""
    for label in classes or ("any",):
        groups = [entry.group for entry, own in found.entries if own == label]
        place = f"{manifest.path}: head {name}, {split}, class {label}"
        if len(groups) < FEWEST[split]:
            raise DatasetError(f"{place}: {len(groups)} pictures, expected {FEWEST[split]} or more{kept_out}")
        if split == "train" and head.kind != "dense" and len(set(groups)) < FEWEST_GROUPS:
            raise DatasetError(f"{place}: all {len(groups)} pictures are of one group{kept_out}")


class Encoder:
    """One file of a model up to the tensor a head reads. Safe to use from several threads."""

    def __init__(self, session: ort.InferenceSession, digest: str) -> None:
        self.session, self.digest = session, digest
        self.side = int(session.get_inputs()[0].shape[1])

    def tap(self, picture: Picture) -> Array:
        """RGB (S, S, 3) to the tensor without its first axis, float32."""
        frame = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])[None]
        return np.asarray(self.session.run(None, {"image": frame})[0][0], np.float32)


View = tuple[Picture, NDArray[np.generic] | np.intp]  # a picture at model size, and its target


class Tapper:
    """Turns entries into Examples through `encoders`: training's views go to them in turns, so that the head learns
    what both say; judging asks the one it is given."""

    def __init__(self, manifest: Manifest, name: str, head: Head, encoders: Sequence[Encoder], cache: Path) -> None:
        self.manifest, self.name, self.head, self.cache = manifest, name, head, cache
        self.encoders = tuple(encoders)
        self.code = hashlib.sha256("".join(inspect.getsource(m) for m in CODE).encode()).hexdigest()

    def training(self, found: Chosen, count: int, seed: int, progress: Callable[[int, int], None]) -> Examples:
        """`count` varied views of every picture; and as many with a donor's content, where the head mixes pictures."""
        mix = self.head.mix
        donors = [entry for entry, label in found.entries if mix and label == mix.of]
        known = hashlib.sha256("".join(entry.sha256 for entry in donors).encode()).hexdigest() if donors else ""
        how = f"train {count} {seed} {known}".rstrip()
        work = functools.partial(self._views, count=count, seed=seed, donors=donors)
        return self._examples(found, work, self.encoders, how, progress)

    def judging(self, found: Chosen, encoder: Encoder, progress: Callable[[int, int], None]) -> Examples:
        """Every picture as it is; a head that makes its examples gets each picture under every label."""
        return self._examples(found, self._judged, (encoder,), "val", progress)

    def _examples(
        self,
        found: Chosen,
        work: Callable[[Entry, str], Iterator[View]],
        encoders: tuple[Encoder, ...],
        how: str,
        progress: Callable[[int, int], None],
    ) -> Examples:
        taps, targets, groups = [], [], []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            done = pool.map(lambda one: self._cached(one, work, encoders, how), found.entries)
            for (entry, _), (tap, target) in zip(found.entries, done, strict=True):
                taps.append(tap)
                targets.append(target)
                groups += [entry.group] * len(tap)
                progress(len(taps), len(found.entries))
        kept = [place for place, tap in enumerate(taps) if len(tap)]
        if not kept:
            raise DatasetError(f"{self.manifest.path}: head {self.name}: none of {len(taps)} pictures is fit for it")
        return Examples(np.concatenate([taps[i] for i in kept]), np.concatenate([targets[i] for i in kept]), groups)

    def _cached(
        self,
        example: tuple[Entry, str],
        work: Callable[[Entry, str], Iterator[View]],
        encoders: tuple[Encoder, ...],
        how: str,
    ) -> tuple[Array, NDArray[np.generic]]:
        """Taps (V, ...) and targets (V, ...) of one picture's views, from disk if they are there."""
        entry, label = example
        parts = (*(e.digest for e in encoders), self.code, self.name, self.head.tap, entry.sha256, label, how)
        path = self.cache / f"{hashlib.sha256(repr(parts).encode()).hexdigest()}.npz"
        if path.is_file():
            kept = arrays.all_of(path)
            return kept["taps"], kept["targets"]
        taps, targets = [], []
        for number, (picture, target) in enumerate(work(entry, label)):
            taps.append(encoders[number % len(encoders)].tap(picture))
            targets.append(target)
        result = np.array(taps, np.float32), np.array(targets)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        with fresh.open("wb") as file:
            np.savez(file, taps=result[0], targets=result[1])
        fresh.replace(path)
        return result

    def _views(self, entry: Entry, label: str, count: int, seed: int, donors: Sequence[Entry]) -> Iterator[View]:
        if self.head.kind == "dense":
            yield self._measured(entry)
            return
        picture = self._picture(entry)
        for number in range(count if self.head.usable(picture) else 0):
            place = self._place(entry, label, number)
            rng = _generator(entry, seed, number)
            made = views.varied if number else views.judged  # the first as it is: that is what will be asked about
            yield made(self.head, rng, picture, self.head.labels[place], self.encoders[0].side), np.intp(place)
        if self.head.mix and label == self.head.mix.into:
            yield from self._mixed(entry, picture, count, seed, [one for one in donors if one.group != entry.group])

    def _mixed(self, entry: Entry, picture: Picture, count: int, seed: int, donors: Sequence[Entry]) -> Iterator[View]:
        """Views with another group's content put in, last of all: cut off or blackened it would not be what is said.
        Fewer where pictures would not mix."""
        mix, side = self.head.mix, self.encoders[0].side
        assert mix is not None
        place = self.head.labels.index(mix.of)
        for number in range(count if donors else 0):
            rng = _generator(entry, seed, 0x317, number)
            view = views.varied(self.head, rng, picture, mix.into, side)
            made = mix.make(rng, view, self._picture(donors[int(rng.integers(len(donors)))]))
            if made is not None:
                yield made, np.intp(place)

    def _judged(self, entry: Entry, label: str) -> Iterator[View]:
        if self.head.kind == "dense":
            yield self._measured(entry)
            return
        picture, head = self._picture(entry), self.head
        turns = range(len(head.labels)) if head.spoil else range(1)
        for turn in turns if head.usable(picture) else ():
            place = turn if head.spoil else head.labels.index(label)
            rng = _generator(entry, 0xE7A1, turn)
            yield views.judged(head, rng, picture, head.labels[place], self.encoders[0].side), np.intp(place)

    def _picture(self, entry: Entry) -> Picture:
        return datasets.load(entry, self.manifest.root(entry)).picture

    def _place(self, entry: Entry, label: str, number: int) -> int:
        """A head that makes its examples goes round its labels, from another one on for every picture."""
        if self.head.spoil is None:
            return self.head.labels.index(label)
        return (int(entry.sha256[:8], 16) + number) % len(self.head.labels)

    def _measured(self, entry: Entry) -> View:
        """A phantom's picture and its log distance (1, S/4, S/4)."""
        side, (_, seed, index) = self.encoders[0].side, entry.path.split(":")
        picture, distance = _wall(int(seed), int(index) // PER_WALL * PER_WALL)[int(index) % PER_WALL]
        square = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        log = np.log(np.maximum(distance, NEAREST)).astype(np.float32)
        return np.asarray(square, np.uint8), cv2.resize(log, (side // 4,) * 2, interpolation=cv2.INTER_AREA)[None]


@functools.lru_cache(maxsize=2)
def _wall(seed: int, first: int) -> tuple[tuple[Picture, Array], ...]:
    """The pictures and distances of one of the phantom's walls, cut to the field: a wall takes seconds to make."""
    found = []
    size = phantom.WIDTH, phantom.HEIGHT
    for picture, distance, field in training_distances(seed, first + PER_WALL, *size, first=first):
        x, y, w, h = cv2.boundingRect(field.astype(np.uint8))
        inside = np.s_[y : y + h, x : x + w]
        found.append((picture[inside], distance[inside]))
    return tuple(found)


def _generator(entry: Entry, *numbers: int) -> Generator:
    return np.random.default_rng((int(entry.sha256[:16], 16), *numbers))
