"""Reporting checklists as data: what a report holds, and which of it a record fills. `lists/*.toml`, one a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from edge.procedure import Record
from edge.types import Struct
from server.words import data
from server.words.errors import WordsError
from server.words.values import seconds, started

FOLDER = Path(__file__).parent / "lists"
Key = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z")]
Selector = Annotated[
    str,
    Meta(
        pattern=r"^(started|duration|insertion|withdrawal|withdrawal_tool|finding_pictures"
        r"|(landmark|picture|judgement):[a-z0-9_]+)\Z"
    ),
]
"""What of a record fills an item: `landmark:caecum`, `picture:caecum` (a key frame of it), `judgement:bbps`, ..."""
Group = Literal["before", "during", "after"]
Doi = Annotated[str, Meta(pattern=r"^10\.[0-9]{4,9}/\S+\Z")]


class Source(Struct, frozen=True, kw_only=True):
    title: str
    doi: Doi


class Threshold(Struct, frozen=True, kw_only=True):
    """A time that the list names. A report says whether it was reached, and nothing of what follows."""

    of: Literal["withdrawal", "duration"]
    at_least_s: Annotated[int, Meta(gt=0, le=86_400)]
    doi: Doi


class Item(Struct, frozen=True, kw_only=True):
    key: Key
    group: Group
    name: dict[str, Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^[^,;:.()“”„]*\Z")]]  # by language
    recorded: tuple[Selector, ...] = ()  # any of them fills it; none: only a person can
    because: Key | None = None  # key in `Record.not_recorded` that says why; without it the item's own

    @property
    def why(self) -> str:
        return self.because or self.key


class Checklist(Struct, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1)]
    pipelines: tuple[str, ...]  # it is theirs; of one list none: it is everybody else's
    sources: Annotated[tuple[Source, ...], Meta(min_length=1)]
    items: Annotated[tuple[Item, ...], Meta(min_length=1)]
    thresholds: tuple[Threshold, ...] = ()

    def missing(self, record: Record) -> tuple[Item, ...]:
        """What the record does not fill, in the list's order."""
        filled = set(_filled(record))
        return tuple(item for item in self.items if not filled.intersection(item.recorded))


class Lists(Struct, frozen=True, kw_only=True):
    lists: tuple[Checklist, ...]

    def of(self, record: Record) -> Checklist:
        """Of its pipeline."""
        pipeline = record.heading.made_by.pipeline
        return next((one for one in self.lists if pipeline in one.pipelines), self._others())

    def _others(self) -> Checklist:
        return next(one for one in self.lists if not one.pipelines)


def load(folder: Path = FOLDER, languages: tuple[str, ...] = ("en", "de")) -> Lists:
    """Raises WordsError."""
    files = sorted(folder.glob("*.toml"))
    lists = []
    for file in files:
        one = data.load(file, Checklist)
        for number, item in enumerate(one.items):
            if lacking := sorted(set(languages) - set(item.name)):
                raise WordsError(f"{file}: items[{number}].name: expected a name in {', '.join(lacking)}, too")
        keys = [item.key for item in one.items]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise WordsError(f"{file}: items: {twice!r} is there twice")
        lists.append(one)
    if sum(not one.pipelines for one in lists) != 1:
        raise WordsError(f"{folder}: pipelines: expected one list that names none, for all other pipelines")
    named = [pipeline for one in lists for pipeline in one.pipelines]
    if twice := next((pipeline for pipeline in named if named.count(pipeline) > 1), None):
        raise WordsError(f"{folder}: pipelines: {twice!r} is in two lists")
    return Lists(lists=tuple(lists))


def _filled(record: Record) -> Iterator[str]:
    """Selectors that this record answers."""
    if started(record.heading.started_at, record.heading.clock_trusted):
        yield "started"
    times = record.times
    for name, value in (
        ("duration", times.duration_s),
        ("insertion", times.insertion_s),
        ("withdrawal", times.withdrawal_s),
        ("withdrawal_tool", times.withdrawal_tool_s),
    ):
        if seconds(value) is not None:
            yield name
    for landmark in record.landmarks:
        yield f"landmark:{landmark.kind}"
        if landmark.key_frame is not None:
            yield f"picture:{landmark.kind}"
    if all(finding.key_frame is not None for finding in record.findings):
        yield "finding_pictures"
    for judgement in record.judgements:
        if judgement.label:
            yield f"judgement:{judgement.kind}"
