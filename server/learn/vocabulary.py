"""The words that a person's sentence may consist of when it leaves: data, a list a language (`words/*.toml`), and a
site's own list beside it."""

from __future__ import annotations

import importlib.resources
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.types import Struct
from server.learn.case import LearnError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Listed(Struct, frozen=True, kw_only=True):
    """A file's form. Each a text of words with blanks between them."""

    words: str = ""  # as written; at a sentence's beginning with a capital, too
    proper: str = ""  # only as written
    names_too: str = ""  # never with a capital
    codes: str = ""  # letters and digits together, only as written


@dataclass(frozen=True)
class Vocabulary:
    words: frozenset[str]
    proper: frozenset[str]
    names_too: frozenset[str]
    codes: frozenset[str]

    def allows(self, word: str, first: bool) -> bool:
        """`first`: it begins a sentence."""
        if word in self.proper:
            return True
        small = word[0].lower() + word[1:]
        if small in self.names_too:
            return word == small
        return word in self.words or (first and small in self.words) or (word == small and _noun(word) in self.words)

    def and_of(self, record_words: frozenset[str]) -> Vocabulary:
        """With the words that a record itself uses, small."""
        return Vocabulary(self.words | record_words, self.proper, self.names_too, self.codes)


def load(language: str, site: Path | None = None) -> Vocabulary | None:
    """None: there is no list for that language. `site`: a file of the same form, for all languages. Raises
    LearnError."""
    shipped = importlib.resources.files("server.learn") / "words" / f"{language}.toml"
    if not shipped.is_file():
        return None
    lists = [_read(shipped.read_text(encoding="utf-8"), shipped.name)]
    if site is not None:
        try:
            lists.append(_read(site.read_text(encoding="utf-8"), str(site)))
        except (OSError, UnicodeDecodeError) as exc:
            raise LearnError(f"{site}: {exc}") from exc
    names_too = _all(lists, "names_too")
    return Vocabulary(_all(lists, "words") - names_too, _all(lists, "proper"), names_too, _all(lists, "codes"))


def _all(lists: list[Listed], key: str) -> frozenset[str]:
    return frozenset(word for one in lists for word in getattr(one, key).split())


def _read(text: str, name: str) -> Listed:
    try:
        return msgspec.convert(tomllib.loads(text), Listed)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
        raise LearnError(f"{name}: expected word lists: {exc}") from exc


def _noun(word: str) -> str:
    return word[0].upper() + word[1:]
