"""What the check is tried with, by tests and by the evaluation: sentences that are false of every record, numbers and
names of the template's own sentences changed, and the same said in other words."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator
from typing import NamedTuple

from edge.procedure import Record
from edge.types import Struct
from server.report import Sentence
from server.words import data, lexicon
from server.words.lexicon import FOLDER

_NUMBER = re.compile(r"[0-9]+")


class Reworded(Struct, frozen=True, kw_only=True, rename={"old": "from", "new": "to"}):
    old: str
    new: str


class Trials(Struct, frozen=True, kw_only=True):
    lies: dict[str, tuple[str, ...]]
    reworded: tuple[Reworded, ...]


class Trial(NamedTuple):
    kind: str  # what is wrong with it
    text: str
    cites: tuple[str, ...]


@functools.cache
def of(language: str) -> Trials:
    """Raises WordsError."""
    lexicon.of(language)
    return data.load(FOLDER / language / "trials.toml", Trials)


def lies(record: Record, sentences: tuple[Sentence, ...], language: str, chance: random.Random) -> Iterator[Trial]:
    """False sentences of this record: invented, alone and after a true one, and true ones with one thing changed."""
    ids = sorted(record.ids())
    for kind, texts in of(language).lies.items():
        for text in texts:
            true = chance.choice(sentences)
            yield Trial(kind, text, tuple(chance.sample(ids, min(len(ids), chance.choice((1, 2, len(ids)))))))
            yield Trial(kind, f"{true.text} {text}", true.cites)
    for sentence in sentences:
        for kind, text in changed(sentence.text, language, chance):
            if kind in _may_hold(record, sentence):
                continue
            yield Trial(kind, text, sentence.cites)


def _may_hold(record: Record, sentence: Sentence) -> set[str]:
    """Changes that may leave it true: of two items that are both missing, of two times that are equal."""
    times = record.times
    same = abs((times.insertion_s or 0) - (times.withdrawal_s or 0)) < 2
    return {"changed time", "changed landmark"} if same or sentence.section == "not_recorded" else set()


def changed(text: str, language: str, chance: random.Random) -> Iterator[tuple[str, str]]:
    """A number, a landmark, a phase, a finding, each another one; by at least 2, for a number may be rounded."""
    for found in _NUMBER.finditer(text):
        other = int(found[0]) + chance.choice((2, 3, 7, 10, 31))
        yield "changed number", f"{text[: found.start()]}{other}{text[found.end() :]}"
    words = lexicon.of(language)
    groups = {
        "changed landmark": [forms[0] for forms in words.terms["landmark"].values()],
        "changed phase": [words.form("phase", "insertion"), words.form("phase", "withdrawal")],
        "changed time": [words.form("topic", "insertion"), words.form("topic", "withdrawal")],
        "changed verdict": [words.form("verdict", "adequate"), words.form("verdict", "inadequate")],
        "changed finding": [words.form("finding", "polyp"), words.quoted("erosion"), words.quoted("ulcer")],
    }
    for kind, forms in groups.items():
        for form in forms:
            if place := re.search(rf"(?<!\w){re.escape(form)}(?!\w)", text, re.IGNORECASE):
                another = chance.choice([one for one in forms if one != form])
                yield kind, f"{text[: place.start()]}{another}{text[place.end() :]}"


def truths(sentences: tuple[Sentence, ...], language: str) -> Iterator[Trial]:
    """The template's sentences in other words."""
    for sentence in sentences:
        for one in of(language).reworded:
            if one.old in sentence.text:
                yield Trial("reworded", sentence.text.replace(one.old, one.new), sentence.cites)
