"""One file a row: one kind of fault.

    TITLE: str    what happens to the box          PROMISE: str    what must hold
    TIMES: int    rounds of a full run             missing() -> str    why it cannot run here, or ""
    play(folder, times, dice) -> Iterator[str], a generator; what it returns at its end, if anything, are figures

`play` yields once a round: "" when the box recovered and nothing was lost, else one line that says what went wrong. All
that is random comes from `dice`. `folder` is empty and the row's own; what is started, mounted or made outside it is
gone when the generator is closed, at whatever round that happens.

Optional: `control(folder, times, dice)`, the same rounds with a product made careless on purpose. It has to lose
something, or the row proves nothing.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple

from edge.errors import UsageError

Play = Callable[[Path, int, random.Random], Generator[str, None, "str | None"]]
GROUPS = {"ota": "update_"}
"""A word for all rows whose names begin so."""


class Row(NamedTuple):
    name: str
    title: str
    promise: str
    times: int
    missing: Callable[[], str]
    play: Play
    control: Play | None


def names() -> list[str]:
    """All of them, in the order in which they are played."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def meant(words: list[str]) -> list[str]:
    """Names as they are; a group's word stands for its rows. None: all of them."""
    found: list[str] = []
    for word in words:
        found += [name for name in names() if name.startswith(GROUPS[word])] if word in GROUPS else [word]
    return list(dict.fromkeys(found)) or names()


def load(name: str) -> Row:
    """UsageError when there is none of that name."""
    if name not in names():
        raise UsageError(f"there is no row {name!r}; there are: {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    control = getattr(module, "control", None)
    return Row(name, module.TITLE, module.PROMISE, module.TIMES, module.missing, module.play, control)
