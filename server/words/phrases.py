"""Tokens → concepts: the longest phrase that the lexicon knows, and nothing that it does not."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from server.words.checklist import Checklist
from server.words.lexicon import Lexicon
from server.words.tokens import Token, tokens

PLAIN, BREAK = "plain", "break"
Table = dict[tuple[str, ...], tuple[str, ...]]


class StruckError(Exception):
    """Why a sentence does not stand. Never leaves this package."""


class Item(NamedTuple):
    """A token that stands for itself (`concepts` empty), or the concepts that a phrase may mean."""

    token: Token
    concepts: tuple[str, ...] = ()


def items(found: list[Token], table: Table, lexicon: Lexicon) -> Iterator[Item]:
    """Raises StruckError at a word or sign that is not in the table."""
    most, at = max(map(len, table)), 0
    while at < len(found):
        size = next((size for size in range(most, 0, -1) if _key(found[at : at + size], size) in table), 0)
        if size:
            yield Item(found[at], table[_key(found[at : at + size], size)])
            at += size
            continue
        token = found[at]
        if token.kind == "odd":
            raise StruckError(f"a sign that is not understood: {token.text!a}")
        if token.kind == "word":
            raise StruckError(_unknown(token, lexicon))
        yield Item(token, (BREAK,) if token.kind == "break" else ())
        at += 1


def _key(found: list[Token], size: int) -> tuple[str, ...]:
    if len(found) < size or any(token.kind not in ("word", "break") for token in found):
        return ()
    return tuple(token.word for token in found)


def _unknown(token: Token, lexicon: Lexicon) -> str:
    what = lexicon.flag(token.word)
    return f"{what}: “{token.text}” is in no fact" if what else f"“{token.text}” is not understood"


def words(text: str, lexicon: Lexicon) -> tuple[str, ...]:
    return tuple(token.word for token in tokens(text, lexicon))


# ---------------------------------------------------------------------------------------- the two tables


@functools.lru_cache(maxsize=32)
def of_facts(language: str) -> Table:
    """Of sentences on what was recorded."""
    from server.words import lexicon as lexicons

    lexicon = lexicons.of(language)
    table: dict[tuple[str, ...], list[str]] = {}
    for kind, terms in lexicon.terms.items():
        if kind not in ("item", "group"):
            _add(table, ((f"{kind}:{key}", forms) for key, forms in terms.items()), lexicon)
    return _frozen(table, lexicon.plain, lexicon)


def of_missing(checklist: Checklist, language: str, lexicon: Lexicon) -> Table:
    """Of sentences on what was not."""
    table: dict[tuple[str, ...], list[str]] = {}
    _add(table, ((f"item:{item.key}", (item.name[language],)) for item in checklist.items), lexicon)
    for kind in ("item", "group"):
        _add(table, ((f"{kind}:{key}", forms) for key, forms in lexicon.terms[kind].items()), lexicon)
    _add(table, ((f"reason:{text}", forms) for text, forms in lexicon.all_reasons()), lexicon)
    _add(table, [("topic:missing", lexicon.terms["topic"]["missing"])], lexicon)
    return _frozen(table, lexicon.glue, lexicon)


def _add(
    table: dict[tuple[str, ...], list[str]], terms: Iterable[tuple[str, tuple[str, ...]]], lexicon: Lexicon
) -> None:
    for concept, forms in terms:
        for form in forms:
            table.setdefault(words(form, lexicon), []).append(concept)


def _frozen(table: dict[tuple[str, ...], list[str]], plain: tuple[str, ...], lexicon: Lexicon) -> Table:
    """A plain word that is a concept, too, is that concept."""
    for form in lexicon.breaks:
        table.setdefault(words(form, lexicon), []).insert(0, BREAK)
    for form in plain:
        table.setdefault(words(form, lexicon), [PLAIN])
    return {key: tuple(dict.fromkeys(concepts)) for key, concepts in table.items()}
