"""docs/faults.md: what was done to the box, how often, and how often it recovered."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from tools.faults.session import Result

_HEAD = """# Faults: what was done to the box on purpose
Written by `tools/faults.sh`; not by hand.

Each row does one thing to the real code (no copy of it, no mock), as often as its table says, at moments that dice
choose. A round counts when the box recovered and all that it had promised was there. `tools/faults.sh ROW --seed SEED`
plays a row again with the same dice; other processes have their own timing, so it is the same kind of moment and not
the same instant.

A power cut is a copy (reflink, taken in one instant) of the disk image under a mounted ext4, mounted again: what had
not reached the image is lost. A disk that lies about its own cache loses more; that only a real one can show.
"Careless" is the control: the same rig over the product with its care taken out has to lose promises.

```
tools/faults.sh                # every row, and this page (root)
tools/faults.sh ROW --times N  # one row
tools/faults.sh ota            # those about updates
tools/faults.sh --list         # what there is
```
"""


def page(results: Sequence[Result], seed: int) -> str:
    played = [result for result in results if not result.skipped]
    good = sum(result.held for result in played)
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    lines = [_HEAD, f"**{good} of {len(played)} rows held**, {when}, seed {seed}, {machine()}.", ""]
    lines += ["| row | what happens | what must hold | held | careless lost | seconds |", "|---|---|---|---|---|---|"]
    for one in played:
        held = f"**{one.good} of {one.times}**" if one.held else f"**{one.good} of {one.times}**: {one.problems[0]}"
        held += f"; {one.figures}" if one.figures else ""
        cells = [f"`{one.row.name}`", one.row.title, one.row.promise, held, one.seen, f"{one.seconds:.0f}"]
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    if skipped := [result for result in results if result.skipped]:
        lines += ["", "Not played on that machine:", ""]
        lines += [f"- `{one.row.name}` ({one.row.title}): {one.skipped}" for one in skipped]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """What it ran on, in one line."""
    try:
        cpu = Path("/proc/cpuinfo").read_text().split("model name\t: ")[1].splitlines()[0]
    except (OSError, IndexError):
        cpu = platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    software = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return f"{os.cpu_count()} × {cpu}, {memory:.0f} GiB, Linux {platform.release()}, {software}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
