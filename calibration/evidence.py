"""What was measured of a build: the JSON lines that `endoedge-model eval --json` printed, as figures for a release."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any, TypeGuard

import msgspec

from calibration.encodings import ENCODINGS
from edge.errors import ModelError
from edge.types import Measurement, Precision

INTERVAL = "_ci95"
ASK_FOR_MODEL = ("eval", "add-head")  # commands whose next word is the model's folder
SEEN_SPLITS = ("train", "all")  # pictures that the model may have learned from prove nothing

Report = Mapping[str, Any]
_Figure = tuple[str, tuple[str, ...], float, "tuple[float, float] | None"]  # head, keys, value, interval


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """One line: what one set of pictures showed of every encoding, and of which files (sha256)."""

    dataset: str
    n: int
    command: str
    files: dict[str, str]
    encodings: dict[str, dict[str, Any]]

    def of_head(self, encoding: str, head: str) -> Report:
        """The encoding's figures of a head that names something; empty where it was not judged."""
        report: Report = self.encodings.get(encoding, {}).get("heads", {}).get(head, {})
        return report

    @property
    def saw_training_pictures(self) -> bool:
        words = shlex.split(self.command)
        return any(word == "--split" and after in SEEN_SPLITS for word, after in pairwise(words))


@dataclass
class _Row:
    """One metric's values and intervals over the encodings."""

    head: str
    metric: str
    values: dict[Precision, float] = field(default_factory=dict)
    intervals: dict[Precision, tuple[float, float]] = field(default_factory=dict)


def read(path: Path) -> list[Evaluation]:
    """The evaluations of one file. Raises ModelError naming file, line and key."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ModelError(f"{path}: cannot be read: {exc}") from exc
    found = [_decoded(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ModelError(f"{path}: no figures in it; `endoedge-model eval --json` prints them")
    return found


def _decoded(line: str, place: str) -> Evaluation:
    try:
        return msgspec.json.decode(line, type=Evaluation)
    except msgspec.DecodeError as exc:
        raise ModelError(f"{place}: not what `endoedge-model eval --json` prints: {exc}") from exc


def measurements(evaluation: Evaluation, name: str) -> list[Measurement]:
    """Every single figure of an evaluation, the encodings side by side; curves and tables are left out."""
    return _beside(
        {encoding: list(_figures(report)) for encoding, report in evaluation.encodings.items()}, evaluation, name
    )


def robustness(evaluation: Evaluation, name: str) -> list[Measurement]:
    """The figures on pictures made worse on purpose, the encodings side by side."""
    rows = {
        encoding: [
            figure
            for row in report.get("robustness", ())
            for figure in _figures(row, path=(f"{row['corruption']} {row['strength']}",))
            if figure[1][-1] != "strength"
        ]
        for encoding, report in evaluation.encodings.items()
    }
    return _beside(rows, evaluation, name)


def _beside(by_encoding: Mapping[str, list[_Figure]], evaluation: Evaluation, name: str) -> list[Measurement]:
    rows: dict[tuple[str, str], _Row] = {}
    for encoding, figures in by_encoding.items():
        for head, path, value, interval in figures:
            row = rows.setdefault((head, metric := _words(path)), _Row(head, metric))
            row.values[ENCODINGS[encoding]] = value
            if interval is not None:
                row.intervals[ENCODINGS[encoding]] = interval
    command = portable(evaluation.command, name)
    return [
        Measurement(
            dataset=evaluation.dataset,
            metric=row.metric,
            command=command,
            **row.values,
            ci95=row.intervals,
            n=evaluation.n,
            head=row.head,
        )
        for row in rows.values()
    ]


def _figures(report: Report, head: str = "", path: tuple[str, ...] = ()) -> Iterator[_Figure]:
    """Every finite number in nested reports."""
    for key, value in report.items():
        if key == "heads" and not head:
            for name, of_head in value.items():
                yield from _figures(of_head, name)
        elif isinstance(value, Mapping):
            yield from _figures(value, head, (*path, key))
        elif is_figure(value) and not key.endswith(INTERVAL):
            interval = report.get(key + INTERVAL)
            yield head, (*path, key), float(value), (interval[0], interval[1]) if interval else None


def is_figure(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _words(path: Sequence[str]) -> str:
    """("by_size", "small", "dice") as "dice, by size small"; ("f1", "caecum", "f1") as "f1, caecum"."""
    *containers, leaf = path
    where = " ".join(part for part in containers if part != leaf)
    return ", ".join(part for part in (leaf, where) if part).replace("_", " ")


def portable(command: str, name: str) -> str:
    """The command as another machine would type it: the released model, and the last two parts of every path."""
    words = shlex.split(command)
    for place, word in enumerate(words):
        if place and words[place - 1] in ASK_FOR_MODEL:
            words[place] = f"models/{name}"
        elif PurePath(word).is_absolute() or word.startswith(".."):
            words[place] = str(PurePath(*[part for part in PurePath(word).parts if part not in ("..", "/")][-2:]))
    return shlex.join(words)
