"""What lies in the slots, or what is known of it, is damaged while the box is off: in one of them, or in both."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.faults import updates
from tools.faults.box import LostError, verdict
from tools.faults.updates import FIRST, Life, Source

TITLE = "both slots are damaged, or the files that say what is in them; or one slot is"
PROMISE = (
    "the release that was installed runs, or with one slot damaged the other; the box says why; the next release is "
    "installed, runs and holds"
)
TIMES = 20

ONE = 0.4  # of all rounds: one slot alone

missing = updates.missing


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    with updates.living(folder) as (source, life):
        for _ in range(times):
            yield verdict(_round, source, life, dice)


def _round(source: Source, life: Life, dice: random.Random) -> None:
    while life.box.boot_state()["good"] != ["A", "B"]:
        _next(source, life)
    running = life.box.booted
    before = (life.box.root / "slot.log").stat().st_size
    life.off()
    if dice.random() < ONE:
        what = f"{running}: {_damage(life.box.store / f'{running}.img', dice)}"
        expected = "A" if running == "B" else "B"
    else:
        what, expected = _damage_both(life.box.store, dice), "F"
    life.reset()
    booted, version = life.box.booted, life.box.version
    if booted != expected or (version == FIRST) != (expected == "F"):
        raise LostError(f"{what}: {booted} runs ({version}), expected {expected}")
    if wrong := updates.whole(life.box, source, booted):
        raise LostError(f"{what}: {wrong}")
    _says_why(life, what, before)
    _next(source, life)


def _says_why(life: Life, what: str, before: int) -> None:
    """The slot program, to the journal; and the updater, to people, where the file that has the reason is there."""
    with (life.box.root / "slot.log").open() as log:
        log.seek(before)
        said = log.read()
    if "is not started" not in said and "as after an installation" not in said and what != "boot.json: gone":
        raise LostError(f"{what}: the slot program does not say why: {said!r}")
    why = str(life.box.boot_state()["why"])
    words = f"{what}: the updater does not say {why!r}"
    life.wait(lambda: life.now and why in life.now.trouble, words, updates.ARRIVES_WITHIN_S)


def _next(source: Source, life: Life) -> None:
    version = source.publish()
    life.want(version)
    life.arrive(version)


# ---------------------------------------------------------------------------------------------- what is done to them


def _damage_both(store: Path, dice: random.Random) -> str:
    """Both images, or one of the two files that all of them depend on."""
    name = dice.choice(("images", "images", "rauc.status", "boot.json"))
    if name == "images":
        return ", ".join(f"{slot}: {_damage(store / f'{slot}.img', dice)}" for slot in "AB")
    return f"{name}: {_damage(store / name, dice)}"


def _damage(path: Path, dice: random.Random) -> str:
    how = dice.choice(list(HOW))
    HOW[how](path, dice)
    return how


def _flip(path: Path, dice: random.Random) -> None:
    """A bit that means something: all of an image is covered by its sha256, and of a file's text a digit or a name."""
    content = bytearray(path.read_bytes())
    at = dice.randrange(len(content)) if path.suffix == ".img" else content.index(b"{") if b"{" in content else 0
    content[at] ^= 1 << dice.randrange(7)
    path.write_bytes(content)


def _cut(path: Path, dice: random.Random) -> None:
    """So that nothing is left that could be enough: not even of RAUC's words on the first slot."""
    os.truncate(path, dice.randrange(path.stat().st_size // (2 if path.suffix == ".img" else 10)))


def _zero(path: Path, _dice: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _remove(path: Path, _dice: random.Random) -> None:
    path.unlink()


HOW: dict[str, Callable[[Path, random.Random], None]] = {
    "a bit is another": _flip,
    "cut off": _cut,
    "zeros": _zero,
    "gone": _remove,
}
