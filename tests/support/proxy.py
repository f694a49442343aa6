"""A small HTTP proxy, so that a box of nspawn's, which has no network but one cable to us, can install packages."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_CHUNK = 1 << 16
_IDLE_S = 60.0
_HOP = {"proxy-connection", "connection", "keep-alive", "transfer-encoding"}


class _Relay(BaseHTTPRequestHandler):
    """`CONNECT` for TLS, `GET` and `HEAD` with whole addresses for apt. One request a connection."""

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        try:
            far = socket.create_connection((host, int(port)), timeout=_IDLE_S)
        except OSError as exc:
            self.send_error(502, str(exc))
            return
        with far:
            self.send_response(200)
            self.end_headers()
            _join(self.connection, far)
        self.close_connection = True

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        far = http.client.HTTPConnection(where.hostname or "", where.port or 80, timeout=_IDLE_S)
        with contextlib.closing(far):
            try:
                far.request(self.command, f"{where.path}?{where.query}".rstrip("?"), headers=headers)
                answer = far.getresponse()
            except OSError as exc:
                self.send_error(502, str(exc))
                return
            self.send_response(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.end_headers()
            while piece := answer.read(_CHUNK):
                self.wfile.write(piece)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: apt and pip say themselves what fails."""


def _join(near: socket.socket, far: socket.socket) -> None:
    other = {near: far, far: near}
    while ready := select.select([near, far], [], [], _IDLE_S)[0]:
        for end in ready:
            with contextlib.suppress(OSError):
                if piece := end.recv(_CHUNK):
                    other[end].sendall(piece)
                    continue
            return


@contextlib.contextmanager
def proxy(address: str) -> Iterator[str]:
    """Its URL. Listens at `address` on a free port."""
    server = ThreadingHTTPServer((address, 0), _Relay)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="proxy")
    thread.start()
    try:
        yield f"http://{address}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
