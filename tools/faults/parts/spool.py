"""The spool: key frames and clips are written, and old ones make room."""

from __future__ import annotations

import random
import time
from pathlib import Path

from edge.record.room import FRESH
from edge.record.spool import Job, Spool
from tools.faults.promises import Promises, promise

MAX_BYTES = 3 << 20
JOB_BYTES = (50_000, 300_000)
SUFFIXES = (".jpg", ".mkv", ".json")
ANSWERS_WITHIN_S = 20.0


class Work:
    """Promises `saved PROCEDURE NAME BYTES`; says `began` when it starts."""

    pause_s = 0.05

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self._dice, self._procedure = dice, ""
        self._spool = Spool(folder / "spool", MAX_BYTES)
        promise("began")

    @property
    def trouble(self) -> str:
        return self._spool.status().fault

    def step(self) -> None:
        if not self._procedure or self._dice.random() < 0.2:
            self._procedure = f"procedure-{self._dice.randrange(1 << 32):08x}"
        name = f"{self._dice.randrange(1 << 40):010x}-{self._dice.randint(*JOB_BYTES)}"
        files = contents(name)
        if save(self._spool, Job(self._procedure, name, dict(files))):
            promise("saved", self._procedure, name, sum(map(len, files.values())))

    def settle(self) -> bool:
        self.step()
        return not self.trouble

    def close(self) -> None:
        self._spool.close()


def contents(name: str) -> dict[str, bytes]:
    """By suffix; all of it follows from the name."""
    dice, size = random.Random(name), int(name.partition("-")[2])
    return {suffix: dice.randbytes(size // divisor) for suffix, divisor in zip(SUFFIXES, (3, 2, 50), strict=True)}


def save(spool: Spool, job: Job) -> bool:
    """Whether the spool says that it is saved."""
    before = spool.status()
    spool.put(job)
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while (now := spool.status()).saved == before.saved and now.dropped == before.dropped:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the spool said nothing for {ANSWERS_WITHIN_S:.0f} s")
        time.sleep(0.001)
    return now.saved > before.saved


def check(folder: Path, promises: Promises) -> str:
    """What was saved is there, what has its name is whole, and the spool goes on and tidies up."""
    path = folder / "spool"
    if wrong := _not_whole(path):
        return wrong
    promised = {(procedure, name) for procedure, name, _ in promises.said("saved")}
    for procedure, name in _still_kept(path, promises):
        if (procedure, name) in promised and not (path / procedure / f"{name}.json").exists():
            return f"{procedure}/{name} was saved and is not there"
    spool = Spool(path, MAX_BYTES)
    saved = save(spool, Job("afterwards", "one-9", dict(contents("one-9"))))
    spool.close()
    if left := list(path.glob(f"*/*{FRESH}")):
        return f"{left[0].name} was left lying about"
    size = sum(file.stat().st_size for file in path.glob("*/*"))
    if size > MAX_BYTES or size != spool.status().bytes:
        return f"{size} bytes are there, {spool.status().bytes} by its own count, {MAX_BYTES} at most"
    return "" if saved else f"it does not go on: {spool.status().fault}"


def _not_whole(path: Path) -> str:
    """Of all files that have their name, one that is not what it should be; "" when all are."""
    for file in sorted(path.glob("*/*")):
        if file.suffix != FRESH and file.read_bytes() != contents(file.stem)[file.suffix]:
            return f"{file.name} is not whole ({file.stat().st_size} bytes)"
        if file.suffix == ".json" and not all(file.with_suffix(suffix).exists() for suffix in SUFFIXES):
            return f"{file.name} is there and not all that it speaks of"
    return ""


def _still_kept(path: Path, promises: Promises) -> list[tuple[str, str]]:
    """The newest, as far as they cannot have made room for others: what a killed writer left, what was being written,
    and what a fault left of something that was not saved, takes room, too."""
    known = {name for _, name, _ in promises.perhaps("saved")}
    others = sum(file.stat().st_size for file in path.glob("*/*") if file.stem not in known)
    room = MAX_BYTES - others - JOB_BYTES[1] * (1 + len(promises.perhaps("began")))
    kept = []
    for procedure, name, size in reversed(promises.perhaps("saved")):
        room -= int(size)
        if room < 0:
            break
        kept.append((procedure, name))
    return kept
