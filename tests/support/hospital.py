"""A hospital's FHIR server, as small as can be: keeps what a transaction PUTs where HL7's definitions allow it, or
gives `answer` to everything. `hold` keeps a request in hand until it is set.

with serving() as hospital: send.transact(hospital.web, bundle)
"""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from server.export.send import Web
from tests.support.broker import Identity
from tests.support.fhir import problems

TOKEN = "secret"


class Hospital(http.server.ThreadingHTTPServer):
    daemon_threads = True
    answer: tuple[int, bytes] | None = None

    def __init__(self, port: int = 0, identity: Identity | None = None, ca: Path | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Desk)
        self.kept: dict[str, Any] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.hold = threading.Event()
        self.hold.set()
        self._ca = ca
        self._scheme = "https" if identity else "http"
        if identity is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity.cert, identity.key)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def web(self) -> Web:
        url = f"{self._scheme}://127.0.0.1:{self.server_port}/base"
        return Web(url=url, token=TOKEN, timeout_s=60, ca=str(self._ca or ""))

    def resources(self, kind: str) -> list[Any]:
        return [one for one in self.kept.values() if one["resourceType"] == kind]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who is killed hangs up, and who does not trust us does, too."""


@contextlib.contextmanager
def serving(port: int = 0, identity: Identity | None = None, ca: Path | None = None) -> Iterator[Hospital]:
    with Hospital(port, identity, ca) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="hospital")
        thread.start()
        try:
            yield server
        finally:
            server.hold.set()
            server.shutdown()
            thread.join()


class _Desk(http.server.BaseHTTPRequestHandler):
    server: Hospital

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.server.hold.wait(60)
        status, content = self.server.answer or self._taken(json.loads(body))
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _taken(self, bundle: dict[str, Any]) -> tuple[int, bytes]:
        if found := problems(bundle):
            return 422, json.dumps(found).encode()
        entries = []
        for entry in bundle["entry"]:
            url = entry["request"]["url"]
            entries.append({"response": {"status": "200 OK" if url in self.server.kept else "201 Created"}})
            self.server.kept[url] = entry["resource"]
        return 200, json.dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": entries}).encode()

    def log_message(self, *_: object) -> None:
        """Quiet."""
