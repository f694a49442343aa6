"""A web server of files over a real socket, that counts what it sends, and can be made to misbehave.

    with StaticServer(folder) as server: server.url, server.sent("bundles/*")
    server.faults["*.json"] = Fault(status=503)

Ranges, ETags, keep-alive, TLS. Its send buffers are small, so that what it counts is what was sent and not what waits.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.broker import Identity

_PIECE = 16 << 10
_BUFFER = 16 << 10
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Fault:
    """What is done instead, for so many `times` (-1: always)."""

    status: int = 0  # this, and no file
    redirect: str = ""  # to there
    content: bytes | None = None  # instead of the file's
    knows_ranges: bool = True
    says: int | None = None  # as Content-Length
    says_nothing: bool = False  # no Content-Length: the end of the connection is the end
    chunked: bool = False
    endless: bool = False  # after the content, zeros for ever
    cut_after: int | None = None  # bytes of the body, then the connection is reset
    drip_s: float = 0.0  # a byte, and then so long nothing
    drip_headers: bool = False  # that already
    times: int = -1


@dataclass
class Request:
    path: str
    range: str
    status: int = 0
    sent: int = 0  # bytes of the body


@dataclass
class _Shared:
    folder: Path
    faults: dict[str, Fault] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    wire: int = 0  # bytes, headers as well
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    timeout = 60
    shared: _Shared

    def setup(self) -> None:
        super().setup()
        self.shared.connections += 1

    def do_GET(self) -> None:
        name = unquote(urlsplit(self.path).path).lstrip("/")
        request = Request(name, self.headers.get("Range", ""))
        self.shared.requests.append(request)
        try:
            self._answer(name, request, self._fault(name))
        except OSError:  # whoever asked has gone
            self.close_connection = True

    def _fault(self, name: str) -> Fault:
        for pattern, fault in self.shared.faults.items():
            if fault.times and fnmatch(name, pattern):
                fault.times -= fault.times > 0
                return fault
        return Fault()

    def _answer(self, name: str, request: Request, fault: Fault) -> None:
        content = fault.content
        if content is None and not (fault.status or fault.redirect):
            with contextlib.suppress(OSError):
                content = (self.shared.folder / name).read_bytes()
        if content is None:
            request.status = 302 if fault.redirect else fault.status or 404
            self._head(request.status, {"Location": fault.redirect} if fault.redirect else {}, 0, fault)
            return
        begins = self._begins(request.range, len(content)) if fault.knows_ranges else 0
        headers = {"ETag": f'"{len(content):x}-{hash(content) & 0xFFFF:x}"'}
        if begins > len(content) - 1 and begins:
            request.status = 416
            self._head(416, {"Content-Range": f"bytes */{len(content)}"}, 0, fault)
            return
        if request.range and fault.knows_ranges:
            headers["Content-Range"] = f"bytes {begins}-{len(content) - 1}/{len(content)}"
        request.status = 206 if "Content-Range" in headers else 200
        self._head(request.status, headers, len(content) - begins, fault)
        self._body(memoryview(content)[begins:], request, fault)

    def _begins(self, asked: str, length: int) -> int:
        found = _RANGE.fullmatch(asked)
        return int(found[1]) if found else 0

    def _head(self, status: int, headers: dict[str, str], length: int, fault: Fault) -> None:
        if fault.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif not (fault.says_nothing or fault.endless):
            headers["Content-Length"] = str(length if fault.says is None else fault.says)
        if fault.says_nothing or fault.endless or fault.says is not None:
            headers["Connection"] = "close"
            self.close_connection = True
        lines = [f"HTTP/1.1 {status} said", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._send("\r\n".join(lines).encode(), fault.drip_s if fault.drip_headers else 0.0)

    def _body(self, content: memoryview, request: Request, fault: Fault) -> None:
        left = fault.cut_after
        while content or fault.endless:
            piece = bytes(content[: 1 if fault.drip_s else _PIECE]) or bytes(_PIECE)
            if left is not None and len(piece) >= left:
                self._send(piece[:left])
                request.sent += left
                self._reset()
                return
            content, left = content[len(piece) :], None if left is None else left - len(piece)
            self._send(b"%x\r\n%b\r\n" % (len(piece), piece) if fault.chunked else piece, fault.drip_s)
            request.sent += len(piece)
        if fault.chunked:
            self._send(b"0\r\n\r\n")

    def _send(self, content: bytes, drip_s: float = 0.0) -> None:
        for piece in [content] if not drip_s else [content[at : at + 1] for at in range(len(content))]:
            self.connection.sendall(piece)
            self.shared.wire += len(piece)
            if drip_s and self.shared.over.wait(drip_s):
                raise BrokenPipeError

    def _reset(self) -> None:
        """RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: `requests` has them."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def get_request(self) -> tuple[socket.socket, Any]:
        made, address = super().get_request()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        if self.tls is not None:
            made = self.tls.wrap_socket(made, server_side=True, do_handshake_on_connect=False)
        return made, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asks here breaks off, is killed, does not trust us."""


class StaticServer:
    """Ends what still drips at its end."""

    def __init__(self, folder: Path, tls: Identity | None = None) -> None:
        self._shared = _Shared(folder)
        handler = type("Handler", (_Handler,), {"shared": self._shared})
        self._server = _Server(("127.0.0.1", 0), handler)
        if tls is not None:
            self._server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._server.tls.load_cert_chain(tls.cert, tls.key)
        self.port = self._server.server_port
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.faults = self._shared.faults
        self.requests = self._shared.requests
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="static-server")

    def sent(self, pattern: str = "*") -> int:
        """Bytes of bodies."""
        return sum(one.sent for one in self.requests if fnmatch(one.path, pattern))

    @property
    def connections(self) -> int:
        return self._shared.connections

    @property
    def wire(self) -> int:
        """Bytes that it sent, headers as well."""
        return self._shared.wire

    def __enter__(self) -> StaticServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shared.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
