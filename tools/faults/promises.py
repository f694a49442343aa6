"""What a process of ours has promised: lines, in a file on another disk than the one that is harmed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


def promise(*words: object) -> None:
    """On standard output, whole, also while every write of this process may fail on purpose."""
    line = (" ".join(map(str, words)) + "\n").encode()
    while line:
        try:
            line = line[os.write(1, line) :]
        except BrokenPipeError:
            raise SystemExit("nobody hears what is promised any more") from None
        except OSError:
            continue


class Promises(NamedTuple):
    """What was said when the fault began, and until it was over: whole lines, without their ends."""

    before: list[str]
    after: list[str]

    def said(self, word: str) -> list[list[str]]:
        """What has to be so: the rest of all lines that begin with `word`."""
        return _about(word, self.before)

    def perhaps(self, word: str) -> list[list[str]]:
        """What may be so."""
        return _about(word, self.after)


def _about(word: str, lines: Sequence[str]) -> list[list[str]]:
    return [rest for first, *rest in map(str.split, lines) if first == word]


def read(log: Path) -> list[str]:
    return whole_lines(log.read_text(encoding="utf-8"))


def whole_lines(text: str) -> list[str]:
    """A process that was killed may leave half a one at the end."""
    return text.rpartition("\n")[0].splitlines()
