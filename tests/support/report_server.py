"""A report server that keeps to the contract, over a real socket, and can be told to fail. What it refuses to see is a
failure of the box: two uploads at once, a record before its frames, a document that changes."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from edge.procedure import Record
from tests.support.broker import Authority, Identity

TOKEN, CODE = "tok-1234567890", "ABCD-EFGH"
FRAME_MOST, RECORD_MOST = 8 << 20, 4 << 20

Fail = Callable[[str, str], int]
"""Method and path → a status to answer with; 0: do as the contract says."""


class ReportServer(ThreadingHTTPServer):
    """`frames` by sha256, `records` by procedure: what was taken. `stored`: how often each was: it has to be once.
    `clients`: makes certificates of boxes, which are let in by them."""

    daemon_threads = True

    def __init__(self, identity: Identity | None = None, port: int = 0, clients: Authority | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.frames: dict[str, bytes] = {}
        self.records: dict[str, bytes] = {}
        self.stored: Counter[str] = Counter()
        self.asked: list[str] = []  # "PUT 201 frames/…", in order
        self.wrong: list[str] = []  # what the box may not do
        self.fail: Fail = lambda method, path: 0
        self.say: Callable[[str, str], tuple[int, bytes] | None] = lambda method, path: None  # in its place: a stranger
        self.lose: Callable[[int, str], bool] = lambda status, path: False  # answers: it dies before it says so
        self.device, self.codes = "box-1", {CODE}
        self.clock_off = timedelta()
        self.read_rate = 0.0  # bytes a second; 0: as they come
        self.clients, self.certificates = clients, list[bytes]()  # DER of those that are good
        self._lock, self._at_work = threading.Lock(), 0
        if identity is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity.cert, identity.key)
            if clients is not None:
                context.verify_mode = ssl.CERT_OPTIONAL
                context.load_verify_locations(clients.ca)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._scheme = "https" if identity else "http"

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A box that is killed hangs up, and one that does not trust us does, too."""

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        with self._lock:
            self._at_work += 1
            if self._at_work > 1:
                self.wrong.append("two uploads at once")
        try:
            yield
        finally:
            with self._lock:
                self._at_work -= 1


@contextlib.contextmanager
def serving(
    identity: Identity | None = None, port: int = 0, clients: Authority | None = None
) -> Iterator[ReportServer]:
    server = ReportServer(identity, port, clients)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="report server")
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        assert server.wrong == []


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_PUT(self) -> None:
        self._serve(self._put)

    def do_GET(self) -> None:
        self._serve(self._box)

    def do_POST(self) -> None:
        self._serve({"/v1/enrol": self._enrol, "/v1/renew": self._renew}.get(self.path, self._post))

    def _serve(self, take: Callable[[bytes], tuple[int, dict[str, Any]]]) -> None:
        with self.server.working():
            body = self._body()
        if len(body) < int(self.headers["Content-Length"] or 0):
            self.close_connection = True
            return
        if stranger := self.server.say(self.command, self.path):
            self._answer(*stranger)
            return
        status = self.server.fail(self.command, self.path)
        if status:
            said: dict[str, Any] = {"error": f"told to answer {status}"}
        elif self.path != "/v1/enrol" and not self._known():
            status, said = 401, {"error": "expected the token of a box that is enrolled"}
        else:
            status, said = take(body)
        self.server.asked.append(f"{self.command} {status} {self.path.removeprefix('/v1/')}")
        if self.server.lose(status, self.path):
            self.close_connection = True
            return
        self._answer(status, msgspec.json.encode(said))

    def _known(self) -> bool:
        shown = self.connection.getpeercert(True) if isinstance(self.connection, ssl.SSLSocket) else None
        return shown in self.server.certificates or self.headers["Authorization"] == f"Bearer {TOKEN}"

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        left, parts = int(self.headers["Content-Length"] or 0), []
        while left and (part := self.rfile.read1(min(left, 1 << 14))):  # type: ignore[attr-defined]
            parts.append(part)
            left -= len(part)
            if self.server.read_rate:
                time.sleep(len(part) / self.server.read_rate)
        return b"".join(parts)

    def _put(self, body: bytes) -> tuple[int, dict[str, Any]]:
        sha256 = self.path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != sha256 or self.headers["Content-Type"] != "image/jpeg":
            return 400, {"error": "expected a JPEG of that digest"}
        if len(body) > FRAME_MOST:
            return 413, {"error": "expected at most 8 MiB"}
        if sha256 in self.server.frames:
            return 200, {"taken": sha256}
        self.server.frames[sha256] = body
        self.server.stored[sha256] += 1
        return 201, {"taken": sha256}

    def _post(self, body: bytes) -> tuple[int, dict[str, Any]]:
        server = self.server
        try:
            record = msgspec.json.decode(body, type=Record)
        except msgspec.DecodeError as exc:
            return 400, {"error": str(exc)}
        if record.state == "running":
            server.wrong.append(f"{record.procedure} was sent while it ran")
        known = server.records.get(record.procedure)
        taken = {"device": record.heading.device, "procedure": record.procedure, "revision": record.revision}
        if known is not None:
            same = known == body
            return (200, {"taken": taken}) if same else (409, {"error": "another document under this procedure"})
        missing = [frame.sha256 for frame in record.key_frames() if frame.sha256 not in server.frames]
        if missing:
            return 409, {"error": "send these first", "missing": missing}
        server.records[record.procedure] = body
        server.stored[record.procedure] += 1
        return 201, {"taken": taken}

    def _box(self, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.path != "/v1/box" or body:
            return 404, {"error": "expected /v1/box"}
        now = datetime.now(timezone.utc) + self.server.clock_off
        return 200, {"device": self.server.device, "time": now.isoformat()}

    def _enrol(self, body: bytes) -> tuple[int, dict[str, Any]]:
        asked = msgspec.json.decode(body)
        if asked["code"] not in self.server.codes:
            return 403, {"error": "expected a code that was not used yet"}
        self.server.codes.remove(asked["code"])
        self.server.device = asked["device"]
        return 201, self._certified(asked) or {"token": TOKEN}

    def _renew(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """The present one stays good: who knows whether this answer arrives."""
        return 201, self._certified(msgspec.json.decode(body))

    def _certified(self, asked: dict[str, str]) -> dict[str, Any]:
        if self.server.clients is None or "csr" not in asked:
            return {}
        chain = self.server.clients.sign(asked["csr"].encode()).decode()
        self.server.certificates.append(ssl.PEM_cert_to_DER_cert(chain[: chain.index("-----END") + 26]))
        return {"certificate": chain}
