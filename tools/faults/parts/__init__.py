"""Those parts of the box that write to its disk, at work. One file a part; its class is named in capitals there.

Each is the product's own code under a load that dice choose. A `step` is a piece of work; what the product promised in
it is said at once (`tools/faults/promises.py`). `check` looks at what is on the disk afterwards with the product's own
code.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from tools.faults.promises import Promises

NAMES = ("core", "uplink", "spool", "console", "engines")


class Part(Protocol):
    """Owner: one thread of one process. What it raises is a fault of the product."""

    pause_s: float
    """The longest rest between two steps, where it is the disk that is to be busy."""

    @property
    def trouble(self) -> str:
        """What the product says of the disk now; "" when all is well."""

    def step(self) -> None: ...

    def settle(self) -> bool:
        """The disk is well again. True: nothing is owed any more."""

    def close(self) -> None: ...


class Loaded(NamedTuple):
    open: Callable[[Path, random.Random], Part]
    check: Callable[[Path, Promises], str]


def load(name: str) -> Loaded:
    module = importlib.import_module(f"{__name__}.{name}")
    return Loaded(module.Work, module.check)


def check(names: tuple[str, ...], folder: Path, promises: Promises) -> str:
    """What is wrong with the folder, "" when nothing is; an error of the product's while it looks is wrong, too."""
    for name in names:
        try:
            wrong = load(name).check(folder, promises)
        except Exception as exc:
            wrong = f"{type(exc).__name__}: {exc}"
        if wrong:
            return f"{name}: {wrong}"
    return ""
