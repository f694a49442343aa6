"""What the uplink shares with this machine: the bell, the lock, the files."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import select
import socket
from collections.abc import Iterator
from pathlib import Path

from edge.errors import UplinkError

log = logging.getLogger(__name__)


class Bell:
    """The datagram socket that core rings after a commit. Owner: the uplink's thread."""

    def __init__(self, path: Path) -> None:
        """Replaces a socket left behind by a killed uplink (`alone` has made sure that none lives)."""
        self._path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            path.unlink(missing_ok=True)
            self.socket.bind(str(path))
            path.chmod(0o660)  # core runs as another user of the same group
        except OSError as exc:
            self.socket.close()
            raise UplinkError(f"notify socket {path}: cannot be made: {exc.strerror or exc}") from exc

    def wait(self, timeout_s: float) -> None:
        select.select([self.socket], [], [], timeout_s)

    def hush(self) -> None:
        """Forget all rings so far: one look at the outbox answers them all."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(16)

    def close(self) -> None:
        self.socket.close()
        self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(outbox: Path) -> Iterator[None]:
    """Hold the lock that keeps a second uplink off this outbox. It goes with the process, however that ends."""
    path = outbox.with_name(outbox.name + ".uplink.lock")
    try:
        file = path.open("w")
    except OSError as exc:
        raise UplinkError(f"lock {path}: cannot be opened: {exc.strerror}") from exc
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise UplinkError(f"outbox {outbox}: another uplink serves it already") from exc
        yield


def replace(path: Path, content: bytes) -> None:
    """Readers see the old or the new content, never half. Not fsynced: status files live in memory. Raises OSError."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(content)
    new.replace(path)
