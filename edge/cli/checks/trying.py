"""How a row is made of something that is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edge.console.report import Row
from edge.errors import EdgeError


class NotTriedError(EdgeError):
    """Cannot be tried here and now, which says nothing about whether it works. The message says why."""


class Advice(NamedTuple):
    """`found` is good for now; `mend`: what to do before it is not."""

    found: str
    mend: str


def tried(what: str, action: Callable[[], str | Advice], mend: str) -> Row:
    """`action` returns what it found. `mend` is for what it raises."""
    try:
        found = action()
    except NotTriedError as exc:
        return Row(what, None, f"not tried: {exc}")
    except (EdgeError, OSError) as exc:
        return Row(what, False, str(exc), mend)
    return Row(what, True, found) if isinstance(found, str) else Row(what, True, *found)
