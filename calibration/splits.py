"""Splits that leak nothing: no patient, sequence or near-duplicate on both sides.

What is in training stays there; a held-out picture that looks like one of training's goes over to it, with its group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from calibration.manifest import SPLITS, Entry
from calibration.phash import near_pairs


@dataclass(frozen=True)
class Leak:
    """Two pictures that look the same, in two splits: `kept` in the one nearer to training."""

    kept: Entry
    leaking: Entry
    bits: int

    def __str__(self) -> str:
        kept, leaking = self.kept, self.leaking
        return (
            f"{leaking.dataset}/{leaking.path} ({leaking.split}) looks like {kept.dataset}/{kept.path} ({kept.split}):"
            f" {self.bits} of 64 bits differ"
        )


def leaks(entries: Sequence[Entry]) -> list[Leak]:
    """Near-duplicates across splits, by perceptual hash."""
    hashed = {split: [e for e in entries if e.split == split and e.phash] for split in SPLITS}
    result = []
    for index, nearer in enumerate(SPLITS):
        for further in SPLITS[index + 1 :]:
            kept, leaking = hashed[nearer], hashed[further]
            pairs = near_pairs([e.phash for e in kept], [e.phash for e in leaking])
            result += [Leak(kept[i], leaking[j], bits) for i, j, bits in pairs]
    return result


def without_leaks(entries: Sequence[Entry], found: Sequence[Leak]) -> tuple[list[Entry], list[Leak]]:
    """The entries with every leaking group moved to its look-alike's split, until none leaks; and why each moved."""
    result, reasons = list(entries), list[Leak]()
    while found:
        moves = {leak.leaking.group: leak for leak in reversed(found)}
        reasons += moves.values()
        result = [_to(e, moves[e.group].kept.split) if e.group in moves else e for e in result]
        found = leaks(result)
    return result, reasons


def _to(entry: Entry, split: str) -> Entry:
    return msgspec.structs.replace(entry, split=split)


def split_by_group(entries: Iterable[Entry], share: float) -> list[Entry]:
    """About `share` of the groups of a data set that came without a split go to val.

    A group's side depends on its name and the share alone, so more data later move nothing.
    """
    return [_to(e, "val") if _position(e.group) < share else e for e in entries]


def _position(group: str) -> float:
    """A number from 0 to 1 that a group's name stands for."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:6], "big") / 2**48
