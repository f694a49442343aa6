"""May this sentence leave? Only when no name and no number in it is known, no date is in it, nothing that could be a
number of somebody, and not one word that is not on the list. Whatever else it may be, it stays.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, get_args

from edge.procedure import Record
from server.learn.known import Known
from server.learn.vocabulary import Vocabulary

Why = Literal[
    "", "names or numbers that are known", "a date, a time of day or a number", "a sign", "a word", "language"
]
"""Why a sentence does not leave; "": it does."""
REASONS: tuple[Why, ...] = get_args(Why)[1:]

_DATE = re.compile(
    r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}\s*[./]\s*\d{1,2}\s*[./]\s*\d{2,4}|\b\d{1,2}:\d{2}\b|[\w.+-]+@[\w-]+|https?:|www\."
)
_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\w+|\S")
_CODE = re.compile(r"\d-[A-Z][A-Za-z]*|[^\W_]+")
_UNIT = r"(?:mm|cm|ml|min|h|s|%|°|x|×)"
_MEASURE = re.compile(
    rf"(?<![\w.,])(?:\d{{1,3}}(?:[.,]\d{{1,2}})?\s?(?:-|–|to|bis)\s?)?\d{{1,3}}(?:[.,]\d{{1,2}})?\s?{_UNIT}(?!\w)"
)
_ALONE = re.compile(r"(?<![\w.,/:+-])\d{1,3}(?![\w/:+-]|[.,]\d|[\s.,-]+\d)")  # a number with no other beside it
_SIGNS = frozenset(".,;:()!?%°+=<>~-–—\"'„“”‘’/×")


@dataclass(frozen=True)
class Gate:
    """Of one case. `vocabulary`: None where a language has no list, and then no person's sentence leaves."""

    known: Known
    vocabulary: Vocabulary | None
    facts: frozenset[str] = frozenset()  # the record's ids
    counts: frozenset[str] = frozenset()  # the record's own large numbers

    @classmethod
    def of(cls, record: Record, known: Known, vocabulary: Vocabulary | None) -> Gate:
        labels = [one.label for one in record.findings] + [one.kind for one in record.landmarks]
        labels += [text for one in record.judgements for text in (one.kind, one.label, *one.shares)]
        own = frozenset(word for label in labels for word in re.findall(r"[^\W\d_]+", label.lower()))
        counts = {one.frames for one in record.findings}
        counts |= {count for one in record.judgements for count in (one.views, one.unsure)}
        return cls(
            known,
            None if vocabulary is None else vocabulary.and_of(own),
            frozenset(record.ids()),
            frozenset(str(count) for count in counts),
        )

    def machine(self, text: str) -> Why:
        """For a template's sentence: its words are ours, and what it knows is the record."""
        if self.known.numbered(text):
            return "names or numbers that are known"
        return "a date, a time of day or a number" if _DATE.search(text) else ""

    def free(self, text: str) -> Why:
        """For a person's, and for a language model's, which sees the pictures and could read what is written there."""
        if self.vocabulary is None:
            return "language"
        if unicodedata.normalize("NFC", text) != unicodedata.normalize("NFKC", text).replace("\xa0", " "):
            return "a sign"
        if self.known.named(text):
            return "names or numbers that are known"
        if _DATE.search(text):
            return "a date, a time of day or a number"
        return self._read(unicodedata.normalize("NFC", text), self.vocabulary)

    def unknown(self, text: str) -> list[str]:
        """The words that are not on the list; for the site's own eyes, to add what is harmless."""
        if self.vocabulary is None:
            return []
        rest = self._rest(text, self.vocabulary)
        return [word for word, first in _words(rest) if not self.vocabulary.allows(word, first)]

    def _rest(self, text: str, vocabulary: Vocabulary) -> str:
        """Without the codes, measures and counts that are harmless."""
        rest = _CODE.sub(lambda found: " " if self._code(found[0], vocabulary) else found[0], text)
        return _ALONE.sub(" ", _MEASURE.sub(" ", rest))

    def _read(self, text: str, vocabulary: Vocabulary) -> Why:
        rest = self._rest(text, vocabulary)
        if re.search(r"\d", rest):
            return "a date, a time of day or a number"
        if any(not token.isalpha() and token not in _SIGNS for token in _TOKEN.findall(rest) if not token[0].isalpha()):
            return "a sign"
        return "a word" if self.unknown(text) else ""

    def _code(self, token: str, vocabulary: Vocabulary) -> bool:
        return token in vocabulary.codes or token in self.facts or token in self.counts


def _words(text: str) -> list[tuple[str, bool]]:
    """Each with whether it begins a sentence."""
    found, first = [], True
    for token in _TOKEN.findall(text):
        if token[0].isalpha():
            found += [(word, first and not number) for number, word in enumerate(re.split("['’]", token))]
            first = False
        else:
            first = first or token in ".!?"
    return found
