#!/usr/bin/python3
"""Which of the two slots runs. Outside of every release, so that none can break it: the standard library alone.

    slot start                    # prints the slot to be started, and counts that start when it is on trial
    slot hold | slot back WHY     # a trial's two ends
    slot get-primary | set-primary SLOT | get-state SLOT | set-state SLOT good|bad   # RAUC's custom bootloader backend

All of it is one small file that is replaced as a whole; a start after any crash reads the state before or after a step.
RAUC writes a slot between `set-state SLOT bad` and `set-primary SLOT`; the second begins its trial. A slot on trial is
started STARTS times at most; then, or at `back`, the other one is, and the one on trial is bad until written anew.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

SLOTS = ("A", "B")
STARTS = 3
FILE = Path(os.environ.get("ENDOEDGE_BOOT", "/var/lib/endoedge-update/boot.json"))


class Boot(NamedTuple):
    """`primary`: runs, or ran last, and held. `trial`: to be started instead, `left` times more. `why`: what became of
    the last trial; empty when it held."""

    primary: str = "A"
    good: frozenset[str] = frozenset({"A"})
    trial: str = ""
    left: int = 0
    why: str = ""


class RefusedError(Exception):
    """What was asked for makes no sense now; nothing was changed."""


def start(boot: Boot) -> tuple[Boot, str]:
    """Which slot is to be started, and the state to be kept before it is."""
    if boot.trial and not boot.left:
        boot = back(boot, f"it was started {STARTS} times and did not hold")
    if boot.trial:
        return boot._replace(left=boot.left - 1), boot.trial
    if boot.primary in boot.good:
        return boot, boot.primary
    other = _other(boot.primary)
    if other in boot.good:
        return boot._replace(primary=other), other
    return boot, boot.primary  # both are bad: what ran last is the better guess


def try_out(boot: Boot, slot: str) -> Boot:
    """The primary itself: no trial, and none goes on."""
    if slot == boot.primary:
        return boot._replace(trial="", left=0)
    return boot._replace(trial=slot, left=STARTS, why="")


def hold(boot: Boot) -> Boot:
    if not boot.trial:
        raise RefusedError("nothing is on trial")
    return Boot(primary=boot.trial, good=boot.good | {boot.trial})


def back(boot: Boot, why: str) -> Boot:
    if not boot.trial:
        raise RefusedError("nothing is on trial")
    return boot._replace(good=boot.good - {boot.trial}, trial="", left=0, why=why)


def mark(boot: Boot, slot: str, state: str) -> Boot:
    if state == "good":
        return hold(boot) if slot == boot.trial else boot._replace(good=boot.good | {slot})
    if slot == boot.trial:
        return back(boot, "it was marked bad")
    return boot._replace(good=boot.good - {slot})


def _other(slot: str) -> str:
    return SLOTS[1 - SLOTS.index(slot)]


# ---------------------------------------------------------------------------------------------------- the file


def read(file: Path) -> Boot:
    """A file that is not there, or damaged, is the state of a box that was just installed: slot A, and B is bad."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        boot = Boot(
            primary=found["primary"],
            good=frozenset(found["good"]),
            trial=found["trial"],
            left=found["left"],
            why=found["why"],
        )
    except FileNotFoundError:
        return Boot()
    except (OSError, ValueError, TypeError, KeyError) as exc:
        print(f"slot: {file}: {exc!r}: as after an installation: slot A", file=sys.stderr)
        return Boot()
    known = boot.primary in SLOTS and boot.trial in ("", *SLOTS) and boot.good <= set(SLOTS)
    if not (known and boot.trial != boot.primary and isinstance(boot.left, int) and 0 <= boot.left <= STARTS):
        print(f"slot: {file}: makes no sense: as after an installation: slot A", file=sys.stderr)
        return Boot()
    return boot


def write(file: Path, boot: Boot) -> None:
    """On the disk when it returns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as scratch:
            json.dump({**boot._asdict(), "good": sorted(boot.good)}, scratch)
            scratch.flush()
            os.fchmod(scratch.fileno(), 0o644)
            os.fsync(scratch.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def main(arguments: list[str]) -> int:
    """0 done, 1 refused or not written, 2 usage."""
    boot = read(FILE)
    said = ""
    try:
        match arguments:
            case ["start"]:
                changed, said = start(boot)
            case ["hold"]:
                changed = hold(boot)
            case ["back", why]:
                changed = back(boot, why)
            case ["get-primary"]:
                changed, said = boot, boot.trial or boot.primary
            case ["set-primary", slot] if slot in SLOTS:
                changed = try_out(boot, slot)
            case ["get-state", slot] if slot in SLOTS:
                changed, said = boot, "good" if slot in boot.good else "bad"
            case ["set-state", slot, ("good" | "bad") as state] if slot in SLOTS:
                changed = mark(boot, slot, state)
            case _:
                print(__doc__.split("\n\n")[1], file=sys.stderr)
                return 2
        if changed != boot:
            write(FILE, changed)
    except RefusedError as exc:
        print(f"slot: {exc}", file=sys.stderr)
        return 1
    except OSError as exc:
        print(f"slot: {FILE}: {exc.strerror}", file=sys.stderr)
        return 1
    if said:
        print(said)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
