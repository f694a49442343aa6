"""Results in a folder: a run that was broken off goes on with the rows that did not hold yet."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge.types import Struct
from tools.faults.rows import Row
from tools.faults.session import Result
from tools.kept import read


class Kept(Struct, frozen=True, kw_only=True):
    """Of a row that held."""

    times: int
    seed: int
    seconds: float
    seen: str
    figures: str


def save(folder: Path, result: Result) -> None:
    if result.held and not result.skipped:
        kept = Kept(
            times=result.times, seed=result.seed, seconds=result.seconds, seen=result.seen, figures=result.figures
        )
        (folder / f"{result.row.name}.json").write_bytes(msgspec.json.encode(kept))


def find(folder: Path, row: Row, times: int, seed: int) -> Result | None:
    """The same row, as often, by the same dice. UsageError: its file says nothing."""
    kept = read(folder / f"{row.name}.json", Kept)
    if kept is None or (kept.times, kept.seed) != (times, seed):
        return None
    return Result(row, times, times, seed, kept.seconds, seen=kept.seen, figures=kept.figures)
