"""What we say to systemd: states to the service manager, log records with their fields to the journal.

Both are datagrams on a unix socket (sd_notify(3); systemd.io/JOURNAL_NATIVE_PROTOCOL). Without systemd nothing is said.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import traceback
from collections.abc import Mapping

JOURNAL = "/run/systemd/journal/socket"
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))  # syslog(3)
_LONGEST = 48 * 1024  # a datagram takes more than that; a longer traceback has its end cut off


class Notifier:
    """The service manager's ear, or nobody's. Owner: one thread."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # a name in the abstract namespace
            self._address = "\0" + self._address[1:]
        self._socket = (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) if self._address else None
        )

    def say(self, *lines: str) -> None:
        """One message of `NAME=value` lines. What cannot be said now is left out: the next beat says it again."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto("\n".join(line.replace("\n", " ") for line in lines).encode(), self._address)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


class JournalHandler(logging.Handler):
    """Log records as journal entries: priority, logger and place are fields that `journalctl` can select by."""

    def __init__(self, path: str = JOURNAL) -> None:
        super().__init__()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def emit(self, record: logging.LogRecord) -> None:
        """A journal that does not take it leaves it to stderr, which is the journal's, too."""
        try:
            self._socket.sendto(_entry(self._fields(record)), self._path)
        except OSError:
            print(self.format(record), file=sys.stderr)

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        fields = {
            "MESSAGE": record.getMessage(),
            "PRIORITY": str(next(number for level, number in _PRIORITIES if record.levelno >= level)),
            "SYSLOG_IDENTIFIER": "endoedge",
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName,
        }
        if record.exc_info:
            fields["EXCEPTION"] = "".join(traceback.format_exception(*record.exc_info))
        return fields

    def close(self) -> None:
        self._socket.close()
        super().close()


def journal() -> JournalHandler | None:
    """A handler where our stderr is the journal's (systemd.exec(5): JOURNAL_STREAM), else None."""
    with contextlib.suppress(OSError, ValueError):
        stat = os.fstat(sys.stderr.fileno())
        if os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}":
            return JournalHandler()
    return None


def _entry(fields: Mapping[str, str]) -> bytes:
    """`NAME`, its length as eight bytes (little endian), its value: takes values of more than one line."""
    pieces = []
    for name, value in fields.items():
        content = value.encode("utf-8", "replace")[:_LONGEST]
        pieces.append(name.encode() + b"\n" + len(content).to_bytes(8, "little") + content + b"\n")
    return b"".join(pieces)
