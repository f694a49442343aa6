"""Where an update repository is: on a web server (`edge/update/web.py`), or in a folder, a stick's.

Nothing that comes from there is trusted, and neither of them is: whoever reads takes so many bytes at most, and holds
them against what is signed.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from types import TracebackType
from typing import Protocol
from urllib.parse import unquote, urlsplit

from edge.errors import UpdateError
from edge.update.web import Limit, Web

_SAFE = re.compile(r"[A-Za-z0-9._~+=@-]+")  # a name in a repository: nothing that a server would read otherwise
_EXPECTED = "expected https://host/folder, or a folder such as /media/stick/endoedge"


class Stream(Protocol):
    """`begins`: where in the file the first byte that is read stands. `whole`: the file's bytes, where that is said."""

    begins: int
    whole: int | None

    def read(self, most: int) -> bytes:
        """What there is just now, at most that; empty at the end. Raises UpdateError."""

    def close(self) -> None: ...


class Source(Protocol):
    """`base`: for people."""

    base: str

    def open(self, name: str, offset: int = 0) -> Stream:
        """`name`: relative to the base. Raises UpdateError: `absent`, `unreachable`, `slow`, `malformed`."""

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None: ...


def open_source(base: str, ca: Path | None, limit: Limit) -> Source:
    """`base`: https://host/folder, http://…, /folder or file:///folder. Raises UpdateError: it is none of them."""
    try:
        where = urlsplit(base)
        _ = where.port  # it may be no number
    except ValueError as exc:
        raise UpdateError(f"{base[:200]}: {exc}: {_EXPECTED}") from exc
    if where.scheme in ("http", "https") and where.hostname:
        if where.query or where.fragment or where.username is not None:
            raise UpdateError(f"{where.scheme}://{where.hostname}: no name, question or # may be in it: {_EXPECTED}")
        return Web(base.rstrip("/"), ca, limit)
    if base.startswith("/"):
        return Folder(Path(base))
    if where.scheme == "file" and where.netloc in ("", "localhost") and where.path.startswith("/"):
        return Folder(Path(unquote(where.path)))
    raise UpdateError(f"{base[:200]!r}: {_EXPECTED}")


def open_place(base: str, url: str, ca: Path | None, limit: Limit) -> tuple[Source, str]:
    """The source, and the name in it, of a file that an offer names: beside the base, or at an https address of its
    own (its digest is known). Raises UpdateError: it leads elsewhere."""
    if url.startswith("https://") and urlsplit(url).hostname:
        return Web(url, ca, limit), ""
    _names(url)
    return open_source(base, ca, limit), url


def _names(name: str) -> list[str]:
    """Raises UpdateError: the name is none within a repository."""
    parts = name.split("/")
    if not all(_SAFE.fullmatch(part) and part not in (".", "..") for part in parts):
        words = f"{name[:200]!r}: expected the name of a file beneath the repository, or an https address"
        raise UpdateError(words, "malformed")
    return parts


class Folder:
    """No link leads out of it, and nothing but files is opened."""

    def __init__(self, path: Path) -> None:
        self.base, self._path = str(path), path

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        """Nothing stays open."""

    def open(self, name: str, offset: int = 0) -> FolderStream:
        path = self._path.joinpath(*_names(name))
        try:
            real = Path(os.path.realpath(path))
            if not real.is_relative_to(os.path.realpath(self._path)):
                raise UpdateError(f"{path}: a link that leads out of the folder", "malformed")
            number = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as exc:
            if (self._path / "metadata").is_dir():
                raise UpdateError(f"{path}: not there", "absent") from exc
            words = f"{self.base}: no update repository (no folder `metadata`): is the stick in?"
            raise UpdateError(words, "unreachable") from exc
        except OSError as exc:
            raise _gone(path, exc) from exc
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            os.close(number)
            raise UpdateError(f"{path}: expected a file", "malformed")
        return FolderStream(path, number, offset, found.st_size)


class FolderStream:
    def __init__(self, path: Path, number: int, begins: int, whole: int) -> None:
        self.begins = begins
        self.whole: int | None = whole
        self._path, self._number, self._at = path, number, begins

    def read(self, most: int) -> bytes:
        try:
            piece = os.pread(self._number, most, self._at)
        except OSError as exc:
            raise _gone(self._path, exc) from exc
        self._at += len(piece)
        return piece

    def close(self) -> None:
        os.close(self._number)


def _gone(path: Path, exc: OSError) -> UpdateError:
    return UpdateError(f"{path}: {exc.strerror}: was the stick pulled out?", "unreachable")
