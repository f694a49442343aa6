"""Rows, played one after the other; what became of each."""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tools.faults.rows import Play, Row

CONTROL_TIMES = 10

Heard = Callable[[str, int, str], None]
"""Called after each round: name of the row, number of the round, what went wrong or ""."""


class Result(NamedTuple):
    """`problems`: "round 17: ...", one a round that failed. `skipped`: why it did not run, or ""."""

    row: Row
    times: int
    good: int
    seed: int
    seconds: float = 0.0
    problems: tuple[str, ...] = ()
    skipped: str = ""
    seen: str = ""  # what the control lost: "10 of 10"; "" where there is none
    figures: str = ""  # what the row measured beside that, in words
    kept: Path | None = None  # the folder of a row that failed

    @property
    def held(self) -> bool:
        return not self.problems and self.good == self.times

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.row.title}: skipped: {self.skipped}"
        seen = f"; a careless writer was seen in {self.seen}" if self.seen else ""
        also = f"; {self.figures}" if self.figures else ""
        return f"{self.row.title}: {self.good} of {self.times} (seed {self.seed}; {self.seconds:.0f} s{seen}){also}"


def play(row: Row, times: int, seed: int, heard: Heard, control_times: int = CONTROL_TIMES) -> Result:
    """All rounds of one row, then its control. A row has its own dice, so that it can be played again alone."""
    if why := row.missing():
        return Result(row, times, 0, seed, skipped=why)
    began = time.monotonic()
    evidence = Path(tempfile.mkdtemp(prefix=f"endoedge-{row.name}-"))
    folder = evidence / "row"
    folder.mkdir()
    with _logged(evidence / "log"):
        dice = random.Random(f"{seed}/{row.name}")
        good, problems, figures = _rounds(row.play, folder, times, dice, partial(heard, row.name))
        seen = ""
        if row.control is not None and not problems:
            seen, blind = _control(row, row.control, control_times, seed)
            problems += blind
    seconds = time.monotonic() - began
    if good == times and not problems:
        shutil.rmtree(evidence)
        return Result(row, times, good, seed, seconds, seen=seen, figures=figures)
    return Result(row, times, good, seed, seconds, tuple(problems), seen=seen, figures=figures, kept=evidence)


def _control(row: Row, control: Play, times: int, seed: int) -> tuple[str, list[str]]:
    """In how many of its rounds the careless product lost something; and what is wrong with the rig."""
    dice = random.Random(f"{seed}/{row.name}/control")
    try:
        with tempfile.TemporaryDirectory(prefix=f"endoedge-{row.name}-") as folder:
            said = list(control(Path(folder), times, dice))
    except Exception as exc:
        return "", [f"control: broke off: {type(exc).__name__}: {exc}"]
    blind = [] if any(said) else ["control: a product made careless lost nothing, so this rig would not see a loss"]
    return f"{sum(map(bool, said))} of {len(said)}", blind


def _rounds(
    play: Play, folder: Path, times: int, dice: random.Random, heard: Callable[[int, str], None]
) -> tuple[int, list[str], str]:
    """How many were good, what went wrong in the others, and what `play` returned. A row that breaks off failed in the
    round it was at."""
    good, problems = 0, []
    figures: list[str] = []
    try:
        with contextlib.closing(play(folder, times, dice)) as rounds:
            for number, said in enumerate(_with_end(rounds, figures), 1):
                if said:
                    problems.append(f"round {number}: {said}")
                else:
                    good += 1
                heard(number, said)
    except Exception as exc:
        number = good + len(problems) + 1
        problems.append(f"round {number}: broke off: {type(exc).__name__}: {exc}")
        heard(number, problems[-1].partition(": ")[2])
    if not problems and good < times:
        problems.append(f"ended after {good} of {times} rounds")
    return good, problems, "".join(figures)


def _with_end(rounds: Generator[str, None, str | None], figures: list[str]) -> Iterator[str]:
    figures.append((yield from rounds) or "")


@contextlib.contextmanager
def _logged(file: Path) -> Iterator[None]:
    """What the product says in this process goes there."""
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
