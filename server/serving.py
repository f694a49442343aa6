"""The web application behind a socket: uvicorn, with TLS where a certificate is configured.

Plain http is served to this machine alone, unless a person says that a proxy before it does TLS (`http.proxies`).
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from edge.errors import ConfigError
from server.config import Http
from server.errors import ServerError
from server.peer import Protocol

log = logging.getLogger(__name__)
STOP_WITHIN_S = 10


def listen(http: Http) -> socket.socket:
    """Raises ConfigError, ServerError."""
    if not http.certificate and not http.proxies and not _is_local(http.address):
        raise ConfigError(
            f"http.address {http.address}: without http.certificate and http.key, or http.proxies, "
            "this machine alone may be served: 127.0.0.1"
        )
    family = socket.AF_INET6 if ":" in http.address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # asyncio sets TCP_NODELAY on sockets whose protocol is said to be TCP, and accepted ones take this one's:
        # without it every answer of two parts waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((http.address, http.port))
    except OSError as exc:
        listener.close()
        raise ServerError(f"http.address {http.address}, http.port {http.port}: {exc.strerror}") from exc
    return listener


def _is_local(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def base_url(http: Http, listener: socket.socket) -> str:
    """As boxes and people reach it from here."""
    if http.url:
        return http.url
    host = f"[{http.address}]" if ":" in http.address else http.address
    return f"{'https' if http.certificate else 'http'}://{host}:{listener.getsockname()[1]}"


def server(app: FastAPI, http: Http, boxes: Path | None = None) -> uvicorn.Server:
    """`boxes`: who signs their certificates; whoever shows one has to show one of those. Raises ConfigError for a
    certificate that cannot be used."""
    tls: dict[str, object] = {}
    if http.certificate or http.key:
        _proven(http)
        tls = {"ssl_certfile": http.certificate, "ssl_keyfile": http.key}
        if boxes is not None:
            tls |= {"ssl_ca_certs": str(boxes), "ssl_cert_reqs": ssl.CERT_OPTIONAL}
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(http.proxies),
        forwarded_allow_ips=list(http.proxies),
        timeout_keep_alive=75,
        timeout_graceful_shutdown=STOP_WITHIN_S,
        h11_max_incomplete_event_size=64 << 10,
        **tls,  # type: ignore[arg-type]
    )
    return Server(config, app)


class Server(uvicorn.Server):
    """Ends the streams of events before it waits for answers to be done: those never are."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.live.close()
        await super().shutdown(sockets)


def _proven(http: Http) -> None:
    for key, file in (("http.certificate", http.certificate), ("http.key", http.key)):
        if not Path(file).is_file():
            raise ConfigError(f"{key} {file or '(not set)'}: expected a PEM file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(http.certificate, http.key)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"http.certificate {http.certificate} and http.key {http.key}: {exc}") from exc
