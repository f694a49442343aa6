"""The certificate that a client has shown, as far as the application: uvicorn keeps it to itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_NAME = "peer_certificate"


class Protocol(H11Protocol):
    """Every request of a connection has it in its state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True) if tls is not None else None
        if shown is not None:
            self.app_state = {**self.app_state, _NAME: shown}


def peer_certificate(scope: Mapping[str, Any] | MutableMapping[str, Any]) -> bytes | None:
    """DER. TLS has verified it against the authority, and that its holder has the key."""
    found = scope.get("state", {}).get(_NAME)
    return found if isinstance(found, bytes) else None
