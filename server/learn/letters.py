"""Texts as they are compared: however somebody writes a name, it is the same name."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W\d_]+")
_LIKE = str.maketrans({"ø": "o", "æ": "a", "œ": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})


def plain(text: str) -> str:
    """Without case, marks, width and the German ways to write an umlaut: Müller, MUELLER and Muller are one."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    bare = "".join(sign for sign in decomposed if not unicodedata.combining(sign)).translate(_LIKE)
    return re.sub(r"([aou])e", r"\1", bare)


def words(text: str) -> list[str]:
    """Letters alone, plain."""
    return _WORD.findall(plain(text))


def squeezed(text: str) -> str:
    """Letters and digits alone, plain: what somebody spaced or hyphenated is found in it."""
    return "".join(sign for sign in plain(text) if sign.isalnum())
