"""A part in a process of its own, at work until it is killed: `python -m tools.faults.writer PART FOLDER SEED`.

`--careless` takes the product's care out: nothing is fsynced, and SQLite's commits wait for no disk. For controls.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

from tools.faults import parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=parts.NAMES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("--careless", action="store_true")
    options = parser.parse_args()
    if options.careless:
        take_care_out()
    dice = random.Random(options.seed)
    part = parts.load(options.part).open(options.folder, dice)
    while True:
        part.step()
        time.sleep(dice.uniform(0, part.pause_s))


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
