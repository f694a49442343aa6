"""What people asked for: files that are taken away, and the answers that stand in the status."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edge.updating import Answer, Wish

log = logging.getLogger(__name__)

_MOST = 8 << 10  # bytes of one
_KEPT = 8  # answers
_AT_ONCE = 16


class Wishes:
    """Owner: the updater's thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answers: dict[str, Answer] = {}
        self._open: dict[str, Wish] = {}

    @property
    def answers(self) -> tuple[Answer, ...]:
        return tuple(self._answers.values())

    @property
    def waiting(self) -> tuple[Wish, ...]:
        """That have no last answer yet, oldest first."""
        return tuple(self._open.values())

    def take(self) -> Iterator[Wish]:
        """Those that are new. What is no wish is thrown away and said in the log."""
        for path in sorted(self._folder.glob("*.json"))[:_AT_ONCE]:
            wish = _read(path)
            with contextlib.suppress(OSError):
                path.unlink()
            if wish is not None and wish.id not in self._answers:
                self._open[wish.id] = wish
                self.answer(wish, "taken", done=False)
                yield wish

    def answer(self, wish: Wish, words: str, *, ok: bool = True, done: bool = True) -> None:
        self._answers[wish.id] = Answer(id=wish.id, done=done, ok=ok, words=words)
        if done:
            self._open.pop(wish.id, None)
        for name in [name for name in self._answers if name not in self._open][:-_KEPT]:
            del self._answers[name]


def _read(path: Path) -> Wish | None:
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(number, "rb") as file:
            return msgspec.json.decode(file.read(_MOST), type=Wish)
    except (OSError, msgspec.DecodeError) as exc:
        log.warning("%s: no wish: %s", path, exc)
        return None
