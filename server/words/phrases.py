"""Tokens → concepts: the longest phrase that the lexicon knows, and nothing that it does not."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from server.words.checklist import Checklist
from server.words.errors import WordsError
from server.words.lexicon import Lexicon
from server.words.lexicon import of as lexicon_of
from server.words.tokens import Token, tokens

PLAIN, BREAK = "plain", "break"


class Table(NamedTuple):
    phrases: dict[tuple[str, ...], tuple[str, ...]]
    """Words → the concepts that they may mean."""
    lengths: dict[str, tuple[int, ...]]
    """First word → how many words its phrases have, the most first."""


class StruckError(Exception):
    """Why a sentence does not stand. Never leaves this package."""


class Item(NamedTuple):
    """A token that stands for itself (`concepts` empty), or the concepts that a phrase may mean."""

    token: Token
    concepts: tuple[str, ...] = ()


def items(found: list[Token], table: Table, lexicon: Lexicon) -> Iterator[Item]:
    """Raises StruckError at a word or sign that is not in the table."""
    at = 0
    while at < len(found):
        token = found[at]
        size = _size(found, at, table)
        if size:
            yield Item(token, table.phrases[tuple(one.word for one in found[at : at + size])])
            at += size
            continue
        if token.kind == "odd":
            raise StruckError(f"a sign that is not understood: {token.text!a}")
        if token.kind == "word":
            raise StruckError(_unknown(token, lexicon))
        yield Item(token, (BREAK,) if token.kind == "break" else ())
        at += 1


def _size(found: list[Token], at: int, table: Table) -> int:
    """How many words the longest phrase has that begins there; 0: none does."""
    if found[at].kind not in ("word", "break"):
        return 0
    for size in table.lengths.get(found[at].word, ()):
        if tuple(one.word for one in found[at : at + size]) in table.phrases:
            return size
    return 0


def _unknown(token: Token, lexicon: Lexicon) -> str:
    what = lexicon.flag(token.word)
    return f"{what}: “{token.text}” is in no fact" if what else f"“{token.text}” is not understood"


def words(text: str, lexicon: Lexicon) -> tuple[str, ...]:
    return tuple(token.word for token in tokens(text, lexicon))


# ---------------------------------------------------------------------------------------- the two tables


_Growing = dict[tuple[str, ...], list[str]]


@functools.cache
def of_facts(language: str) -> Table:
    """Of sentences on what was recorded."""
    lexicon = lexicon_of(language)
    table: _Growing = {}
    for kind, terms in lexicon.terms.items():
        if kind not in ("item", "group"):
            _add(table, ((f"{kind}:{key}", forms) for key, forms in terms.items()), lexicon)
    return _frozen(table, lexicon.plain, lexicon)


def of_missing(checklist: Checklist, language: str, lexicon: Lexicon) -> Table:
    """Of sentences on what was not."""
    table: _Growing = {}
    _add(table, ((f"item:{item.key}", (item.name[language],)) for item in checklist.items), lexicon)
    for kind in ("item", "group"):
        _add(table, ((f"{kind}:{key}", forms) for key, forms in lexicon.terms[kind].items()), lexicon)
    _add(table, ((f"reason:{text}", forms) for text, forms in lexicon.all_reasons()), lexicon)
    _add(table, [("topic:missing", lexicon.terms["topic"]["missing"])], lexicon)
    return _frozen(table, lexicon.glue, lexicon)


def _add(table: _Growing, terms: Iterable[tuple[str, tuple[str, ...]]], lexicon: Lexicon) -> None:
    for concept, forms in terms:
        for form in forms:
            spoken = tokens(form, lexicon)
            if strange := next((one.text for one in spoken if one.kind not in ("word", "break")), None):
                raise WordsError(f"{concept}: {form!r}: {strange!r} is no word; any other number would match it, too")
            table.setdefault(tuple(one.word for one in spoken), []).append(concept)


def _frozen(table: _Growing, plain: tuple[str, ...], lexicon: Lexicon) -> Table:
    """A plain word that is a concept, too, is that concept."""
    for form in lexicon.breaks:
        table.setdefault(words(form, lexicon), []).insert(0, BREAK)
    for form in plain:
        table.setdefault(words(form, lexicon), [PLAIN])
    lengths: dict[str, set[int]] = {}
    for key in table:
        lengths.setdefault(key[0], set()).add(len(key))
    phrases = {key: tuple(dict.fromkeys(concepts)) for key, concepts in table.items()}
    return Table(phrases, {first: tuple(sorted(sizes, reverse=True)) for first, sizes in lengths.items()})
