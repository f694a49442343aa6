"""From a manifest and a recipe to samples in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from calibration import datasets, heads, pictures
from calibration.datasets import phantom
from calibration.manifest import Entry, Manifest
from calibration.pictures import DatasetError, Sample
from calibration.recipe import Recipe, Segment, Stage
from calibration.train.beside import NO_ANSWER, Task
from calibration.train.loop import Sources

Progress = Callable[[str, int, int], None]  # what, done, of how many


class Pool:
    """The manifest's pictures that a recipe may use: which, and in memory at the kept side once they were asked for."""

    def __init__(self, manifest: Manifest, recipe: Recipe) -> None:
        self.manifest, self.recipe = manifest, recipe
        wanted = recipe.data.datasets
        unknown = set(wanted) - {entry.dataset for entry in manifest.entries}
        if unknown:
            raise DatasetError(f"recipe {recipe.name}: no pictures of data set {', '.join(sorted(unknown))}")
        usable = [
            entry
            for entry in manifest.entries
            if (entry.ships or recipe.development) and (not wanted or entry.dataset in wanted)
        ]
        stills = [entry for entry in usable if entry.frame < 0 and not phantom.is_phantom(entry)]
        self.usable = usable
        self.polyps = [entry for entry in stills if entry.split == "train" and entry.mask]
        self.polyp_free = [entry for entry in stills if entry.split == "train" and entry.polyp_free]
        self.held_out = [entry for entry in stills if entry.split == "val" and entry.mask]
        self._kept: dict[str, list[Sample]] = {}

    def digest(self) -> str:
        """sha256 over every training picture and mask."""
        lines = (f"{entry.sha256} {entry.mask_sha256}\n" for entry in (*self.polyps, *self.polyp_free))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def path(self, entry: Entry) -> Path:
        return self.manifest.root(entry) / entry.path

    def samples(self, kind: str, progress: Progress) -> list[Sample]:
        """ "polyps", "polyp_free" or "held_out", decoded when first asked for."""
        if kind not in self._kept:
            entries: list[Entry] = getattr(self, kind)
            self._kept[kind] = []
            for index, entry in enumerate(entries):
                sample = datasets.load(entry, self.manifest.root(entry))
                self._kept[kind].append(pictures.squashed(sample, self.recipe.data.kept_side))
                progress(f"reading {kind.replace('_', ' ')} pictures", index + 1, len(entries))
        return self._kept[kind]

    def sources(self, stage: Stage, progress: Progress) -> Sources:
        """What one stage draws from."""
        free = self.samples("polyp_free", progress) if stage.polyp_free else []
        names = stage.tasks if isinstance(stage, Segment) else ()
        if names:
            answers = answered(self.polyp_free, names)
            free = [replace(sample, answers=row) for sample, row in zip(free, answers, strict=True)]
        tasks = [Task.of(heads.named(name), place, free) for place, name in enumerate(names)]
        return Sources(self.samples("polyps", progress), free, self._phantom(stage, progress), tasks)

    def _phantom(self, stage: Stage, progress: Progress) -> list[Sample]:
        if not stage.phantom:
            return []
        samples, count = [], stage.phantom_pictures
        for sample in phantom.samples(stage.phantom_seed, count, self.recipe.data.kept_side):
            samples.append(sample)
            progress("drawing phantom pictures", len(samples), count)
        return samples


def answered(entries: Sequence[Entry], names: Sequence[str]) -> list[tuple[int, ...]]:
    """For every entry the place of its label in each head's list, NO_ANSWER where it has none.

    Raises DatasetError for a label outside the list, and for a class without pictures.
    """
    tasks = [heads.named(name) for name in names]
    rows = []
    for entry in entries:
        labels = [head.label(entry) for head in tasks]
        for name, head, label in zip(names, tasks, labels, strict=True):
            if label is not None and label not in head.labels:
                known = ", ".join(head.labels)
                raise DatasetError(f"{entry.dataset}/{entry.path}: task {name} {label!r} is none of {known}")
        rows.append(
            tuple(
                NO_ANSWER if label is None else head.labels.index(label)
                for head, label in zip(tasks, labels, strict=True)
            )
        )
    for place, (name, head) in enumerate(zip(names, tasks, strict=True)):
        for index, label in enumerate(head.labels):
            if not any(row[place] == index for row in rows):
                raise DatasetError(f"task {name}: no polyp-free training picture of class {label}")
    return rows
