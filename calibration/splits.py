"""Splits that leak nothing: no patient, sequence or near-duplicate on both sides.

What is held out stays held out; where training shows a scene of it, training does without, and without its whole group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.manifest import SPLITS, Entry, Split
from calibration.phash import ALIKE, alikeness, near_pairs, structure

GreyOf = Callable[[Entry], NDArray[np.uint8]]  # how to get at a picture, to look at it more closely


@dataclass(frozen=True)
class Leak:
    """Two pictures of the same scene in two splits: `kept` in the one further from training."""

    kept: Entry
    leaking: Entry
    alike: float

    def __str__(self) -> str:
        kept, leaking = self.kept, self.leaking
        return (
            f"{leaking.dataset}/{leaking.path} ({leaking.split}) shows the scene of"
            f" {kept.dataset}/{kept.path} ({kept.split}), {self.alike:.2f} alike"
        )


def leaks(entries: Sequence[Entry], grey: GreyOf) -> list[Leak]:
    """Near-duplicates across splits. Rendered pictures have no hash: their seeds are their groups."""
    looks: dict[tuple[str, str], NDArray[np.float32]] = {}

    def look(entry: Entry) -> NDArray[np.float32]:
        key = entry.dataset, entry.path
        if key not in looks:
            looks[key] = structure(grey(entry))
        return looks[key]

    hashed = {split: [e for e in entries if e.split == split and e.phash] for split in SPLITS}
    result = []
    for index, nearer in enumerate(SPLITS):
        for further in SPLITS[index + 1 :]:
            kept, leaking = hashed[further], hashed[nearer]
            for i, j in near_pairs([e.phash for e in kept], [e.phash for e in leaking]):
                alike = alikeness(look(kept[i]), look(leaking[j]))
                if alike >= ALIKE:
                    result.append(Leak(kept[i], leaking[j], alike))
    return result


def without_leaks(entries: Sequence[Entry], grey: GreyOf) -> tuple[list[Entry], list[Leak]]:
    """The entries without the groups that leak, and one reason for each group that is left out."""
    out = {(leak.leaking.dataset, leak.leaking.group): leak for leak in leaks(entries, grey)}
    return [e for e in entries if (e.dataset, e.group) not in out], list(out.values())


def _to(entry: Entry, split: Split) -> Entry:
    return msgspec.structs.replace(entry, split=split)


def split_by_group(entries: Iterable[Entry], share: float) -> list[Entry]:
    """About `share` of the groups of a data set that came without a split go to val.

    A group's side depends on its name and the share alone, so more data later move nothing.
    """
    return [_to(e, "val") if _position(e.group) < share else e for e in entries]


def _position(group: str) -> float:
    """A number from 0 to 1 that a group's name stands for."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:6], "big") / 2**48
