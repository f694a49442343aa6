"""Where key frames lie: by their sha256, once, whoever sent them. What is kept is on the disk when `put` returns.

Which box a picture came from is the database's (`frames`): nobody reads a picture by its digest alone.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import Protocol

from edge.durable import BEGUN, sync_folder, write_atomically
from server.config import Config
from server.errors import ServerError

_PROOF = 64 << 10  # bytes
_PROVING = ".proof-"
_SCRATCH_S = 86_400.0  # nobody writes one picture for so long


class Keep(Protocol):
    """Callable from any thread. `sha256`: 64 hexadecimal digits, checked by the caller. Raises ServerError."""

    def put(self, sha256: str, jpeg: bytes) -> None: ...

    def get(self, sha256: str) -> bytes | None:
        """None: it is not there."""

    def discard(self, sha256: str) -> None:
        """Harmless when it is not there."""

    def prove(self) -> None:
        """Something can be written and read."""

    def sweep(self) -> int:
        """What writers that were killed left half-written goes. How many files."""


def opened_keep(config: Config) -> Keep:
    """Where the configuration says. Raises ConfigError."""
    if config.bucket is None:
        return Folder(config.folder / "frames")
    from server.bucket import open_bucket

    return open_bucket(config.bucket)


class Folder:
    """Files in folders of the first two digits. Many processes may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, sha256: str, jpeg: bytes) -> None:
        file = self._file(sha256)
        try:
            if file.exists():  # by somebody else a moment ago, perhaps, who has not got so far yet
                sync_folder(file.parent)
                return
            if not file.parent.is_dir():
                file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                sync_folder(file.parent.parent)
                sync_folder(self._root.parent)
            write_atomically(file, jpeg)
        except OSError as exc:
            raise ServerError(f"{file}: {exc.strerror}") from exc

    def get(self, sha256: str) -> bytes | None:
        try:
            return self._file(sha256).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise ServerError(f"{self._file(sha256)}: {exc.strerror}") from exc

    def discard(self, sha256: str) -> None:
        try:
            self._file(sha256).unlink(missing_ok=True)
        except OSError as exc:
            raise ServerError(f"{self._file(sha256)}: {exc.strerror}") from exc

    def prove(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=self._root, prefix=_PROVING) as file:
                file.write(bytes(_PROOF))
                file.flush()
        except OSError as exc:
            raise ServerError(f"{self._root}: {exc.strerror}") from exc

    def sweep(self) -> int:
        """By age: whose process that was cannot be asked where many machines share the folder."""
        swept = 0
        try:
            for file in itertools.chain(self._root.glob(f"{_PROVING}*"), self._root.glob(f"??/{BEGUN}*")):
                if time.time() - file.stat().st_mtime > _SCRATCH_S:
                    file.unlink(missing_ok=True)
                    swept += 1
        except FileNotFoundError:  # its writer was faster, or another sweeper: the rest in an hour
            return swept
        except OSError as exc:
            raise ServerError(f"{self._root}: {exc.strerror}") from exc
        return swept

    def _file(self, sha256: str) -> Path:
        return self._root / sha256[:2] / f"{sha256}.jpg"
