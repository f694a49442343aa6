"""The report server's errors: one a boundary. The command line prints the message, the web answers with `status`."""

from __future__ import annotations

from collections.abc import Mapping

from edge.errors import EdgeError


class ServerError(EdgeError):
    """Something a person has to mend: a database that is not there, a folder that cannot be written."""


class RefusedError(ServerError):
    """What somebody sent is not taken, and why; nothing was changed."""

    def __init__(self, message: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})  # of the answer
