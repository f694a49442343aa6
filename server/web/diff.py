"""What changed from one version of a report to the next. Pure."""

from __future__ import annotations

import difflib
import re
from typing import Literal

from edge.types import Struct
from server.edits import EDITED
from server.report import Report, Sentence

Kind = Literal["said", "replaced", "struck", "restored", "reworded", "gone", "signed", "unsigned"]
_ALIKE = 0.5  # of the words; where less is the same, two texts beside each other are easier to read
_TOKENS = re.compile(r"\s+|\w+|[^\w\s]")


class Piece(Struct, frozen=True, kw_only=True):
    """Of a text, beside another one."""

    how: Literal["same", "new", "old"]
    text: str


class Change(Struct, frozen=True, kw_only=True):
    kind: Kind
    sentence: str  # its id; "" of a signature
    pieces: tuple[Piece, ...]
    why: str = ""
    who: str = ""


def changes(before: Report | None, after: Report) -> tuple[Change, ...]:
    """`before` None: all of it is new."""
    old = {one.id: one for one in before.sentences} if before is not None else {}
    found: list[Change] = []
    replaced: Sentence | None = None
    for one in after.sentences:
        was = old.pop(one.id, None)
        if was is None:
            found.append(_new(one, replaced))
            replaced = None
            continue
        replaced = None
        if one.struck == EDITED and not was.struck:
            replaced = one
        elif (change := _changed(was, one)) is not None:
            found.append(change)
    found += [Change(kind="gone", sentence=one.id, pieces=_whole("old", one.text)) for one in old.values()]
    return (*found, *_signatures(before, after))


def words(before: str, after: str) -> tuple[Piece, ...]:
    """Word by word; texts with little in common are shown whole."""
    a, b = _TOKENS.findall(before), _TOKENS.findall(after)
    if difflib.SequenceMatcher(None, before.split(), after.split(), autojunk=False).ratio() < _ALIKE:
        return (*_whole("old", before), *_whole("new", after))
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    pieces: list[Piece] = []
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        if tag == "equal":
            pieces += _whole("same", "".join(a[a0:a1]))
        else:
            pieces += [*_whole("old", "".join(a[a0:a1])), *_whole("new", "".join(b[b0:b1]))]
    return tuple(pieces)


def _new(one: Sentence, replaced: Sentence | None) -> Change:
    if replaced is not None:
        return Change(kind="replaced", sentence=one.id, pieces=words(replaced.text, one.text), who=one.author)
    why = one.struck and f"struck out by the check: {one.struck}"
    return Change(kind="said", sentence=one.id, pieces=_whole("new", one.text), why=why, who=one.author)


def _changed(was: Sentence, one: Sentence) -> Change | None:
    if was == one:
        return None
    if was.text != one.text:
        return Change(kind="reworded", sentence=one.id, pieces=words(was.text, one.text))
    if one.struck and not was.struck:
        pieces = _whole("old", one.text)
        return Change(kind="struck", sentence=one.id, pieces=pieces, why=one.struck, who=one.struck_by)
    if was.struck and not one.struck:
        return Change(kind="restored", sentence=one.id, pieces=_whole("new", one.text))
    return Change(kind="reworded", sentence=one.id, pieces=_whole("same", one.text))


def _signatures(before: Report | None, after: Report) -> list[Change]:
    had = before.signatures if before is not None else ()
    new = [Change(kind="signed", sentence="", pieces=(), who=one.name) for one in after.signatures if one not in had]
    gone = [Change(kind="unsigned", sentence="", pieces=(), who=one.name) for one in had if one not in after.signatures]
    return [*gone, *new]


def _whole(how: Literal["same", "new", "old"], text: str) -> tuple[Piece, ...]:
    return (Piece(how=how, text=text),) if text else ()
