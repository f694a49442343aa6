"""The names and numbers that are known of a case, found in a text however they are written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from server.learn.case import SignedCase
from server.learn.letters import plain, squeezed, words

_PARTICLES = """
    af al an and bin da das de del den der di do dos du e el et i ibn in la las le les lo mc of st t ten ter the
    und van vom von y zu zum zur dr med prof prim univ doz dipl msc phd md mr mrs ms herr frau sr schwester
"""
"""Parts of names and titles that say nothing by themselves: found only as part of the whole name."""
_WHOLE_LEAST = 5  # letters of a name that is looked for within other words, too
_NUMBER_LEAST = 4  # letters and digits of a number that is looked for anywhere


@dataclass(frozen=True)
class Known:
    names: frozenset[str]  # words that may not stand in a person's sentence
    whole: frozenset[str]  # squeezed: names as they are written in one piece
    numbers: frozenset[str]  # squeezed: may stand nowhere at all
    digits: frozenset[str]  # short numbers without their leading zeros

    @classmethod
    def of(cls, case: SignedCase) -> Known:
        numbered = [number for number in case.numbers() if any(sign.isdigit() for sign in number)]
        called = [*case.people(), *case.places(), *(one for one in case.numbers() if one not in numbered)]
        parts = {part for name in called for part in words(name) if len(part) > 1}
        numbers = {squeezed(number) for number in numbered}
        full = {squeezed(name) for name in called}
        if (patient := case.patient) is not None:
            full |= {squeezed(patient.given + patient.family), squeezed(patient.family + patient.given)}
        return cls(
            names=frozenset(parts - set(_PARTICLES.split())),
            whole=frozenset(one for one in full if len(one) >= _WHOLE_LEAST),
            numbers=frozenset(one for one in numbers if len(one) >= _NUMBER_LEAST),
            digits=frozenset(one.lstrip("0") for one in numbers if one.isdigit()) - {""},
        )

    def named(self, text: str) -> bool:
        """For what a person may have written: any part of any name, any number."""
        said = words(text)
        if any(_is(word, name) for word in said for name in self.names):
            return True
        pressed = squeezed(text)
        if any(name in pressed for name in self._long()):
            return True
        return self.numbered(text) or any(run.lstrip("0") in self.digits for run in re.findall(r"\d+", plain(text)))

    def numbered(self, text: str) -> bool:
        """For what a machine wrote of a record, which knows no name: a whole name or a number alone, so that a patient
        called Good does not take the view's quality out of a report."""
        pressed = squeezed(text)
        return any(one in pressed for one in self.numbers)

    def anywhere(self, texts: Iterable[str]) -> bool:
        """The last look at all that leaves: whole names of two parts or more, and numbers."""
        pressed = "\n".join(squeezed(text) for text in texts)
        return any(one in pressed for one in self.numbers) or any(
            one in pressed for one in self.whole if one not in self.names
        )

    def _long(self) -> frozenset[str]:
        return self.whole | {name for name in self.names if len(name) >= _WHOLE_LEAST}


def _is(word: str, name: str) -> bool:
    """The name, or its genitive or plural."""
    return word == name or (
        word.startswith(name) and word[len(name) :] in ("s", "es", "n", "ns", "en", "sche", "schen")
    )
