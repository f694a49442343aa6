"""What was last verified, as one whole set of files: a cut at any moment leaves the old set or the new one.

    FOLDER/current -> set-0f3a…/          # a link, replaced in one step; all other sets are leftovers

python-tuf writes its files one by one and does not sync them. It is therefore given a copy, and the copy takes the
place of the old set when all of it is on the disk. One owner.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from edge.durable import sync_folder

_CURRENT = "current"


class Sets:
    """Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def current(self) -> Path | None:
        """None: nothing was ever verified here."""
        link = self._folder / _CURRENT
        return self._folder / link.readlink() if link.is_symlink() else None

    def begin(self) -> Path:
        """A copy to work on. Whatever was begun before and not committed is gone."""
        self._folder.mkdir(parents=True, exist_ok=True)
        now = self.current()
        for left in self._folder.iterdir():
            if left.name != _CURRENT and left != now:
                _remove(left)
        work = self._folder / f"set-{secrets.token_hex(8)}"
        if now is not None and now.is_dir():
            shutil.copytree(now, work, symlinks=True)
        else:
            work.mkdir()
        return work

    def commit(self, work: Path) -> None:
        """On the disk when it returns. A copy that was not changed is dropped: a check that finds nothing new writes
        nothing durable."""
        now = self.current()
        if now is not None and _contents(now) == _contents(work):
            _remove(work)
            return
        _sync(work)
        link = self._folder / f"link-{work.name}"
        link.symlink_to(work.name)
        link.replace(self._folder / _CURRENT)
        sync_folder(self._folder)
        if now is not None:
            _remove(now)


def _contents(folder: Path) -> dict[str, str | bytes]:
    found = [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in found
    }


def _sync(folder: Path) -> None:
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where) / name
            if not path.is_symlink():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        sync_folder(Path(where))


def _remove(left: Path) -> None:
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)
