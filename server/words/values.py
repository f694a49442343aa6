"""Numbers and free text of a record as a report may say them."""

from __future__ import annotations

import datetime
import math
import unicodedata

import msgspec

LONGEST_S = 1_000_000.0  # beyond it a time is no time of a procedure
MOST = 1_000_000_000  # ... and a count no count
LABEL_MOST = 60  # characters of a free text in a sentence
LISTED = 1000  # facts of a kind that a report lists; how many more there are, it says
_QUOTES = dict.fromkeys(map(ord, '"“”„‟«»‹›'), "'")


def seconds(value: float | None) -> float | None:
    """None for what cannot be a time of a procedure."""
    if value is None or not math.isfinite(value) or not 0 <= value <= LONGEST_S:
        return None
    return value


def count(value: int) -> int | None:
    return value if 0 <= value <= MOST else None


def share(value: float | None) -> float | None:
    """0..1."""
    if value is None or not math.isfinite(value) or not 0 <= value <= 1:
        return None
    return value


def started(text: str, trusted: bool) -> str:
    """RFC 3339 → "2026-03-02 09:30 UTC"; "" where it cannot be believed or read."""
    if not trusted:
        return ""
    try:
        moment = msgspec.convert(text, datetime.datetime, strict=False).astimezone(datetime.timezone.utc)
    except (msgspec.ValidationError, OverflowError):
        return ""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def plain(text: str) -> str:
    """One line of at most LABEL_MOST characters, without control signs and double quotes, never empty."""
    kept = "".join(" " if one.isspace() else one for one in unicodedata.normalize("NFC", text) if _decent(one))
    words = " ".join(kept.translate(_QUOTES).split())
    return (words if len(words) <= LABEL_MOST else words[: LABEL_MOST - 1].rstrip() + "…") or "–"


def _decent(one: str) -> bool:
    return one.isspace() or not unicodedata.category(one).startswith("C")


def span(value: float) -> str:
    """Whole seconds: 892.4 → "14 min 52 s". The same in every language of ours."""
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min" + (f" {rest} s" if rest else "")
    if minutes:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    return f"{rest} s"


def score(value: float, decimal: str) -> str:
    """0.914 → "0.91", rounded down: no score becomes a certainty."""
    return f"{math.floor(value * 100 + 1e-9) / 100:.2f}".replace(".", decimal)


def percent(value: float, decimal: str) -> str:
    """0.93 → "93 %"; a share that is not all or nothing never becomes 100 % or 0 %."""
    for decimals in (0, 1, 2, 4):
        text = f"{value * 100:.{decimals}f}"
        if float(text) not in (0.0, 100.0) or value in (0.0, 1.0):
            break
    return f"{text.replace('.', decimal)} %"
