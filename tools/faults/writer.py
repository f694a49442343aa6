"""A row's writer in a process of its own: `python -m tools.faults.writer MODULE:FUNCTION FOLDER SEED [--careless]`.

`--careless` takes the product's care out: nothing is fsynced, and SQLite's commits wait for no disk. For controls.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import sqlite3
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("function")
    parser.add_argument("folder", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("--careless", action="store_true")
    options = parser.parse_args()
    module, _, function = options.function.partition(":")
    write = getattr(importlib.import_module(module), function)
    if options.careless:
        take_care_out()
    write(options.folder, random.Random(options.seed))


def promise(*words: object) -> None:
    """Outside, where no power goes."""
    print(*words, flush=True)


class _Careless(sqlite3.Connection):
    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous = FULL", "synchronous = NORMAL"), *parameters)


def take_care_out() -> None:
    connect = sqlite3.connect

    def careless(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return connect(*arguments, **options, factory=_Careless)

    sqlite3.connect = careless  # type: ignore[assignment]
    os.fsync = lambda fd: None  # noqa: ARG005


if __name__ == "__main__":
    main()
