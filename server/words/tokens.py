"""Text → words, numbers and quotations. Nothing is skipped: what is none of them is `odd`, and the sentence falls."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import Literal, NamedTuple

from server.words.lexicon import Lexicon

_PATTERNS = (
    ("quote", r"[“„](?P<inner>[^“”„‟]*)[”“]"),
    ("date", r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2} UTC(?![\w-])"),
    ("clock", r"(?<![\w.,:-])[0-9]{1,3}:[0-5][0-9](?::[0-5][0-9])?(?![\w:-]|[.,][0-9])"),
    ("number", r"(?<![\w.,:-])[0-9]+(?:[.,][0-9]+)*(?![:-])"),
    ("id", r"(?<![\w-])[A-Z][0-9]{1,6}(?![\w-])"),
    ("word", r"(?<!-)[LETTERS]+(?:[-'’][LETTERS]+)*(?!-)"),
    ("percent", r"%"),
    ("break", r"[,;:.()]|(?<= )[–—-](?= )"),
    ("space", r"[ \u00a0\u202f]+"),
)
Kind = Literal["quote", "date", "number", "time", "id", "word", "percent", "break", "odd"]


class Token(NamedTuple):
    kind: Kind
    text: str  # as a person reads it
    word: str = ""  # in lower case, of a word or a break
    number: float = 0.0  # of a number or (seconds) a time
    step: float = 0.0  # how exactly it is given: 1 for "52 s", 60 for "15 min"
    whole: bool = True  # a number without a decimal sign


def tokens(text: str, lexicon: Lexicon) -> list[Token]:
    """With units and number words taken into the numbers."""
    raw = list(_raw(unicodedata.normalize("NFC", text), lexicon))
    return list(_timed(raw, lexicon))


def _raw(text: str, lexicon: Lexicon) -> Iterator[Token]:
    pattern, at = _pattern(lexicon.letters), 0
    while at < len(text):
        found = pattern.match(text, at)
        if found is None:
            yield Token("odd", text[at])
            at += 1
            continue
        yield from _token(found, lexicon)
        at = found.end()


def _token(found: re.Match[str], lexicon: Lexicon) -> Iterator[Token]:
    kind, text = found.lastgroup or "", found.group()
    if kind == "space":
        return
    if kind == "quote":
        yield Token("quote", found.group("inner"))
    elif kind == "clock":
        parts = [int(part) for part in text.split(":")]
        seconds = parts[0] * 60 + parts[1] if len(parts) == 2 else (parts[0] * 60 + parts[1]) * 60 + parts[2]
        yield Token("time", text, number=float(seconds), step=1.0)
    elif kind == "number":
        yield _number(text, lexicon.decimal)
    elif kind == "word":
        word = text.lower().replace("’", "'")
        written = _written(word, lexicon)
        yield Token("word", text, word) if written is None else Token("number", text, number=written, step=1.0)
    elif kind in ("date", "id", "percent", "break"):
        yield Token(kind, text, text)  # type: ignore[arg-type]


def _number(text: str, decimal: str) -> Token:
    """Digits with the language's decimal sign, or with the other one before each three of them."""
    group = "," if decimal == "." else "."
    whole, *fraction = text.split(decimal)
    if (
        len(fraction) > 1
        or len(text) > 15
        or (group in whole and not re.fullmatch(rf"[0-9]{{1,3}}(\{group}[0-9]{{3}})+", whole))
    ):
        return Token("odd", text)
    if fraction and not fraction[0].isdigit():
        return Token("odd", text)
    digits = whole.replace(group, "")
    if fraction:
        return Token(
            "number", text, number=float(f"{digits}.{fraction[0]}"), step=10.0 ** -len(fraction[0]), whole=False
        )
    return Token("number", text, number=float(digits), step=1.0)


def _written(word: str, lexicon: Lexicon) -> float | None:
    return float(lexicon.numbers[word]) if word in lexicon.numbers else None


def _timed(raw: list[Token], lexicon: Lexicon) -> Iterator[Token]:
    """ "14", "min", "52", "s" → one time."""
    units, at = _units(lexicon), 0
    while at < len(raw):
        end, time = _time(raw, at, units, lexicon.breaks[0])
        if time is None:
            yield raw[at]
            at += 1
        else:
            yield time
            at = end


def _time(raw: list[Token], at: int, units: dict[str, int], joint: str) -> tuple[int, Token | None]:
    """The time that begins there, and where it ends: units grow smaller, and only the last may have a fraction."""
    if raw[at].kind == "time":  # 12:34 min
        return (at + 2 if at + 1 < len(raw) and raw[at + 1].word == "min" else at + 1), raw[at]
    total, step, unit, end = 0.0, 0.0, 0, at
    while end + 1 < len(raw):
        start = end + 1 if unit and raw[end].word == joint else end
        given = units.get(raw[start + 1].word, 0) if start + 1 < len(raw) else 0
        if raw[start].kind != "number" or not given:
            break
        if unit and (given >= unit or raw[start].number >= 60 or step < unit):
            break
        total, step, unit, end = total + raw[start].number * given, raw[start].step * given, given, start + 2
    if not unit:
        return at, None
    return end, Token("time", " ".join(token.text for token in raw[at:end]), number=total, step=step)


def _units(lexicon: Lexicon) -> dict[str, int]:
    return {name: int(seconds) for seconds, names in lexicon.units.items() for name in names}


@functools.lru_cache
def _pattern(letters: str) -> re.Pattern[str]:
    known = f"A-Za-z{letters}{letters.upper()}"
    return re.compile("|".join(f"(?P<{kind}>{one})" for kind, one in _PATTERNS).replace("LETTERS", known))
