"""The words of a language: what the template writes and what the check understands, from one table.

`LANGUAGE/lexicon.toml`. A form is a phrase in lower case; the first of a term's forms is the one that the template
writes. What is in no table is not understood, and a sentence with it does not stand.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from edge.types import Struct
from server.words import data
from server.words.errors import WordsError

FOLDER = Path(__file__).parent
LANGUAGES = ("en", "de")
Form = Annotated[str, Meta(min_length=1, max_length=120)]
Forms = Annotated[tuple[Form, ...], Meta(min_length=1)]
Kind = Literal[
    "topic", "pipeline", "landmark", "finding", "findings", "judgement", "verdict", "view", "signal", "statement",
    "near", "phase", "role", "group", "marker", "item", "effort",
]  # fmt: skip


class Lexicon(Struct, frozen=True, kw_only=True):
    decimal: Literal[".", ","]
    letters: str  # beside a to z
    quotes: Annotated[str, Meta(min_length=2, max_length=2)]
    plain: tuple[Form, ...]  # words that claim nothing
    glue: tuple[Form, ...]  # those that a sentence on what is not recorded may have
    breaks: tuple[Form, ...]  # another clause begins with them
    numbers: dict[str, int]
    units: dict[Literal["1", "60", "3600"], Forms]  # seconds → its names
    terms: dict[Kind, dict[str, Forms]]
    reasons: dict[str, Forms]  # why something is not recorded: as boxes write it → as we do; a number: `#` → {}
    unseen: Forms  # the same for a landmark, {} its name
    flags: dict[str, Forms]  # what may never be said → beginnings of words that say it

    def form(self, kind: Kind, key: str) -> str:
        """As the template writes it; "" where this language has none."""
        forms = self.terms.get(kind, {}).get(key)
        return forms[0] if forms else ""

    def quoted(self, text: str) -> str:
        return f"{self.quotes[0]}{text}{self.quotes[1]}"

    def reason(self, text: str) -> str:
        """A box's reason in this language; "" where it has none."""
        plain = next((forms[0] for known, forms in self.all_reasons() if known == text), "")
        return plain or self.counted(text)

    def counted(self, text: str) -> str:
        """A box's reason with a number in it, likewise."""
        for known, forms in self.reasons.items():
            found = "#" in known and re.fullmatch(re.escape(known).replace(r"\#", "([0-9]{1,12})"), text)
            if found:
                return forms[0].format(*found.groups())
        return ""

    def all_reasons(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Those without a number."""
        yield from ((known, forms) for known, forms in self.reasons.items() if "#" not in known)
        for kind, names in self.terms["landmark"].items():
            yield f"the {kind} was not seen", tuple(one.format(name) for one in self.unseen for name in names)

    def flag(self, word: str) -> str:
        """Which thing that may never be said this word says; "" none of them."""
        return next((what for what, stems in self.flags.items() if _any_of(stems).fullmatch(word)), "")


def begins(word: str, stem: str) -> bool:
    """A stem ends with `*`; others are whole words. `*stem*` is found within a compound, too."""
    return _any_of((stem,)).fullmatch(word) is not None


@functools.lru_cache(maxsize=1024)
def _any_of(stems: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(stem).replace(r"\*", ".*") for stem in stems))


@functools.cache
def of(language: str) -> Lexicon:
    """Raises WordsError for a language that has none."""
    if language not in LANGUAGES:
        raise WordsError(f"language {language!r}: expected one of {', '.join(LANGUAGES)}")
    return data.load(FOLDER / language / "lexicon.toml", Lexicon)
