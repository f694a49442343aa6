"""Small files that a kernel writes: found, read, and believed only where they make sense.

What cannot be believed is None and is named in `problems`; nothing here raises.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path

MOST_BYTES = 64 * 1024
ANY = (float("-inf"), float("inf"))
COUNT = (0.0, 2.0**64)


class Tree:
    """The files under `root`. Owner: one thread, for one reading."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._problems: dict[str, str] = {}

    @property
    def problems(self) -> tuple[str, ...]:
        """ "sys/class/.../temp: 'x7' is no number", each file once, in the order of their names."""
        return tuple(f"{name}: {why}" for name, why in sorted(self._problems.items()))

    def find(self, pattern: str) -> list[Path]:
        """What is there, in natural order (zone 2 before zone 10). Folders that come and go are no problem."""
        with contextlib.suppress(OSError):
            return sorted(self._root.glob(pattern), key=_natural)
        return []

    def hwmon(self, *names: str) -> list[Path]:
        """The hardware monitors that call themselves one of `names`."""
        found = self.find("sys/class/hwmon/hwmon*")
        return [folder for folder in found if self.text(folder / "name", wanted=False) in names]

    def path(self, name: str) -> Path:
        return self._root / name

    def text(self, path: Path, wanted: bool = True) -> str | None:
        """Its content without white space and NUL at the ends. A file that is not `wanted` may be missing.

        EAGAIN, ENODATA and no permission are answers too ("switched off", "not for you"): None, and no problem.
        """
        try:
            content = _read(path)
        except FileNotFoundError:
            if wanted:
                self._note(path, "is gone")
            return None
        except OSError as exc:
            if exc.errno not in (errno.EAGAIN, errno.ENODATA, errno.EACCES, errno.EPERM):
                self._note(path, os.strerror(exc.errno or 0).lower())
            return None
        text = content.decode("utf-8", "replace").strip(" \t\r\n\0")
        if not text and wanted:
            self._note(path, "is empty")
        return text or None

    def number(
        self, path: Path, scale: float = 1.0, within: tuple[float, float] = ANY, wanted: bool = True
    ) -> float | None:
        """A whole number, times `scale`, if that lies `within` (both ends included)."""
        text = self.text(path, wanted)
        if text is None:
            return None
        if not re.fullmatch(r"[+-]?[0-9]{1,20}", text, re.ASCII):
            self._note(path, f"{text[:20]!r} is no number")
            return None
        value = int(text) * scale
        if not within[0] <= value <= within[1]:
            self._note(path, f"{value:g} cannot be")
            return None
        return value

    def _note(self, path: Path, why: str) -> None:
        self._problems[str(path.relative_to(self._root))] = why


def _read(path: Path) -> bytes:
    """Without ever waiting: whatever lies there, the reader must not hang."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(file, MOST_BYTES)
    finally:
        os.close(file)


def _natural(path: Path) -> list[tuple[int, str]]:
    pieces = re.findall(r"[0-9]+|[^0-9]+", str(path))
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]
