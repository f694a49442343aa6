"""endoedge-model manifest"""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from calibration import datasets, manifest, splits
from calibration.cli.shared import console, progress_bars
from calibration.manifest import Entry, Root
from calibration.pictures import DatasetError
from edge.errors import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, help="file to write, or with --check to verify")
    parser.add_argument(
        "--dataset",
        nargs=2,
        action="append",
        default=[],
        metavar=("LAYOUT", "PATH"),
        help=f"a data set and its folder; LAYOUT one of {', '.join(datasets.layouts())}",
    )
    parser.add_argument("--phantom", action="append", default=[], metavar="SEED:COUNT:SPLIT", help="rendered pictures")
    parser.add_argument(
        "--split-by-group",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the groups that go to val, of data sets that come without a split",
    )
    parser.add_argument(
        "--drop-near-duplicates",
        action="store_true",
        help="leave out groups of training that show a scene of what is held out, instead of refusing them",
    )
    parser.add_argument(
        "--polyp-free",
        type=Path,
        metavar="FILE",
        help="pictures that somebody looked at and found no polyp in: a sha256 a line, and anything after it",
    )
    parser.add_argument("--check", action="store_true", help="verify an existing manifest: files, digests, splits")


def run(options: argparse.Namespace) -> int:
    """List every picture of data sets once: digest, split, group, labels, licence."""
    wanted = [*options.dataset, *(["phantom", spec] for spec in options.phantom)]
    if options.check:
        if wanted:
            raise UsageError("--check verifies a manifest as it is; --dataset and --phantom write one")
        return _check(options.manifest)
    if not wanted:
        raise UsageError("nothing to list: give --dataset or --phantom, or --check")
    if options.manifest.exists():
        raise DatasetError(f"{options.manifest}: exists already; a manifest is written once, give another name")
    roots: list[Root] = []
    folders: dict[str, Path] = {}
    entries: list[Entry] = []
    for layout, path in wanted:
        root, scanned = _scanned(options.manifest, layout, Path(path))
        if options.split_by_group and layout != "phantom" and all(e.split == "train" for e in scanned):
            scanned = splits.split_by_group(scanned, options.split_by_group)
        roots.append(root)
        folders[root.dataset] = Path(path)
        entries += scanned
    if options.polyp_free:
        entries = _looked_at(entries, options.polyp_free)
    entries = _leak_free(entries, folders, options.drop_near_duplicates)
    manifest.write(options.manifest, roots, entries)
    _show(entries)
    console.print(f"{options.manifest}: {len(entries)} pictures")
    return 0


def _scanned(target: Path, layout: str, path: Path) -> tuple[Root, list[Entry]]:
    """A data set's entries and its root; a relative folder is written relative to the manifest."""
    with progress_bars() as progress:
        task = progress.add_task(f"{layout} {path}", total=None)
        entries = datasets.scan(layout, path, lambda done, total: progress.update(task, completed=done, total=total))
    relative = layout != "phantom" and not path.is_absolute()
    written = os.path.relpath(path, target.parent) if relative else str(path)
    return Root(dataset=datasets.name_of(layout, path), layout=layout, path=written), entries


def _looked_at(entries: list[Entry], path: Path) -> list[Entry]:
    """The entries, those polyp-free that the file lists. A listed picture with a polyp's mask is an error."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise DatasetError(f"{path}: cannot be read: {exc.strerror}") from exc
    listed = set()
    for number, line in enumerate(lines, start=1):
        digest = line.split(maxsplit=1)[0] if line.strip() else "#"
        if digest.startswith("#"):
            continue
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise DatasetError(f"{path}, line {number}: expected a sha256, 64 hexadecimal digits, got {digest[:70]!r}")
        listed.add(digest)
    for entry in entries:
        if entry.sha256 in listed and (entry.mask or entry.boxes):
            raise DatasetError(f"{path}: lists {entry.dataset}/{entry.path}, which has a polyp")
    there = sum(entry.sha256 in listed for entry in entries)
    console.print(f"{path}: {there} of {len(listed)} listed pictures are here", soft_wrap=True)
    return [msgspec.structs.replace(e, polyp_free=True) if e.sha256 in listed else e for e in entries]


def _leak_free(entries: list[Entry], folders: dict[str, Path], drop: bool) -> list[Entry]:
    def grey(entry: Entry) -> NDArray[np.uint8]:
        return datasets.grey(entry, folders[entry.dataset])

    if not drop:
        _refuse(splits.leaks(entries, grey))
        return entries
    entries, reasons = splits.without_leaks(entries, grey)
    for leak in reasons:
        console.print(f"left out with its group {leak.leaking.group}: {leak}", soft_wrap=True)
    return entries


def _refuse(found: list[splits.Leak]) -> None:
    for leak in found:
        console.print(str(leak), soft_wrap=True)
    if found:
        raise DatasetError(f"{len(found)} near-duplicates across splits; --drop-near-duplicates leaves out training's")


def _check(path: Path) -> int:
    listed = manifest.read(path)
    wrong = list(manifest.damage(listed))
    for line in wrong:
        console.print(line, soft_wrap=True)
    if wrong:
        raise DatasetError(f"{path}: {len(wrong)} files are missing or differ")
    _refuse(splits.leaks(listed.entries, lambda entry: datasets.grey(entry, listed.root(entry))))
    _show(listed.entries)
    console.print(f"{path}: {len(listed.entries)} pictures, all there; no leak between splits")
    return 0


def _show(entries: Sequence[Entry]) -> None:
    """Pictures and groups by data set and split, and every data set's terms."""
    table = Table("data set", "split", "pictures", "groups", "masks", "polyp-free", "may ship")
    for dataset, split in Counter((e.dataset, e.split) for e in entries):
        part = [e for e in entries if (e.dataset, e.split) == (dataset, split)]
        marks = [
            sum(map(bool, column)) for column in zip(*((e.mask, e.polyp_free, e.ships) for e in part), strict=True)
        ]
        table.add_row(dataset, split, *map(str, (len(part), len({e.group for e in part}), *marks)))
    console.print(table)
    for line in sorted({f"{e.dataset}: {e.licence}; {'may ship' if e.ships else 'never ships'}" for e in entries}):
        console.print(line, soft_wrap=True, highlight=False)
