"""The report server's requests over HTTP/1.1, at a pace. What a server may say is bounded, and a redirect is not
followed: the token is for one server alone.

Python's own client: two requests on one connection need no more, and a box carries no package without a need.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from edge import __version__
from edge.uplink.config import ReportsConfig
from edge.uplink.handover import Answer, Named

PART = 16 << 10  # bytes that are sent between two looks at the pace
SLACK_S = 0.1  # what was not used of the rate within so long may be made up for: waits last longer than asked
_ANSWER_MOST = 1 << 20
_SENTENCE_MOST = 300
_REFUSED = re.compile(r"ALERT_(.*CERTIFICATE.*|UNKNOWN_CA|ACCESS_DENIED)")  # the words of a TLS alert
_BY_CLOCK = (9, 10)  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED

Pace = Callable[[int], None]
"""Called after so many bytes went: waits as long as they should have taken. Raises StoppedError."""


class LinkError(Exception):
    """No answer, and why. `permanent`: it looks as if a person must act."""

    def __init__(self, text: str, *, permanent: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent


class StoppedError(Exception):
    """The uplink ends."""


class Box(NamedTuple):
    """This box as the server knows it, and its own time, UTC."""

    device: str
    time: datetime


class Given(NamedTuple):
    """What an enrolment gives: one of them."""

    token: str
    certificate: str  # PEM, with who signed it


class _Said(msgspec.Struct):
    """What is read of an answer; the rest is passed over."""

    error: str = ""
    missing: tuple[str, ...] = ()
    taken: str | Named | None = None
    token: str = ""
    certificate: str = ""
    device: str = ""
    time: datetime | None = None


class ReportServer:
    """One connection, made when it is needed. Used from one thread, as a context manager."""

    def __init__(self, config: ReportsConfig, trusts: ssl.SSLContext | None, token: str, pace: Pace) -> None:
        """`trusts`: None for plain http. `token`: "" to enrol."""
        url = urlsplit(config.url)
        host = url.hostname or ""
        self._path, self._pace = url.path.rstrip("/"), pace
        self.certificate_ends_at: datetime | None = None
        """The server's own, UTC; None before the first answer, and for plain http."""
        self._headers = {"User-Agent": f"endoedge/{__version__}"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._http: http.client.HTTPConnection = (
            http.client.HTTPSConnection(host, url.port, timeout=config.timeout_s, context=trusts)
            if trusts
            else http.client.HTTPConnection(host, url.port, timeout=config.timeout_s)
        )

    def __enter__(self) -> ReportServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def put(self, sha256: str, jpeg: bytes) -> Answer:
        """A key frame. Raises LinkError, StoppedError."""
        return self._ask("PUT", f"/v1/frames/{sha256}", jpeg, "image/jpeg")[0]

    def box(self) -> tuple[Answer, Box | None]:
        """Who we are to it; None where it does not say. Raises LinkError, StoppedError."""
        answer, said = self._ask("GET", "/v1/box")
        aware = said.time is not None and said.time.tzinfo is not None
        return answer, Box(said.device, said.time.astimezone(timezone.utc)) if said.time and aware else None

    def post(self, record: bytes) -> Answer:
        """A procedure's record. Raises LinkError, StoppedError."""
        return self._ask("POST", "/v1/procedures", record, "application/json")[0]

    def enrol(self, device: str, code: str, csr: str = "") -> tuple[Answer, Given]:
        """`csr`: PEM, for a certificate. Raises LinkError, StoppedError."""
        asked = {"device": device, "code": code} | ({"csr": csr} if csr else {})
        answer, said = self._ask("POST", "/v1/enrol", msgspec.json.encode(asked), "application/json")
        return answer, Given(said.token, said.certificate)

    def renew(self, csr: str) -> tuple[Answer, Given]:
        """For who shows a certificate. Raises LinkError, StoppedError."""
        answer, said = self._ask("POST", "/v1/renew", msgspec.json.encode({"csr": csr}), "application/json")
        return answer, Given(said.token, said.certificate)

    def _ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[Answer, _Said]:
        """`kind`: the body's; "" without one."""
        headers = self._headers | ({"Content-Type": kind, "Content-Length": str(len(body))} if kind else {})
        try:
            if self._http.sock is None:
                self._http.connect()
                self.certificate_ends_at = _ends_at(self._http.sock)
            # Who refuses a body before it has come hangs up, and has said why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                self._http.request(method, self._path + path, self._parts(body) if kind else None, headers)
            response = self._http.getresponse()
            content = response.read(_ANSWER_MOST)
            if response.length and len(content) < _ANSWER_MOST:
                raise http.client.IncompleteRead(content, response.length)
            if not response.isclosed():  # more than anybody needs
                self._http.close()
        except (OSError, http.client.HTTPException) as exc:
            self._http.close()
            raise _trouble(exc) from exc
        said = _understood(content)
        return Answer(response.status, _sentence(said.error), said.missing, said.taken), said

    def _parts(self, body: bytes) -> Iterator[bytes]:
        for at in range(0, len(body), PART):
            part = body[at : at + PART]
            yield part
            self._pace(len(part))


class Pacer:
    """Keeps to a rate, which may change at any time."""

    def __init__(self, rate: Callable[[], float], wait: Callable[[float], bool]) -> None:
        """`rate`: bytes a second. `wait`: so many seconds; true when the uplink ends."""
        self._rate, self._wait = rate, wait
        self._free_s = 0.0  # CLOCK_MONOTONIC: when the next byte may go

    def __call__(self, size: int) -> None:
        now_s = time.monotonic()
        self._free_s = max(self._free_s, now_s - SLACK_S) + size / self._rate()
        if self._wait(max(0.0, self._free_s - now_s)):
            raise StoppedError


def _ends_at(connected: socket.socket | None) -> datetime | None:
    found = connected.getpeercert() if isinstance(connected, ssl.SSLSocket) else None
    ends = found.get("notAfter") if found else None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), timezone.utc) if isinstance(ends, str) else None


def _understood(content: bytes) -> _Said:
    with contextlib.suppress(msgspec.DecodeError):
        return msgspec.json.decode(content, type=_Said)
    return _Said()


def _sentence(text: Any) -> str:
    """Somebody else's words, in our log and status."""
    return "".join(sign if sign.isprintable() else " " for sign in str(text))[:_SENTENCE_MOST]


def _trouble(exc: Exception) -> LinkError:
    if isinstance(exc, ssl.SSLCertVerificationError):
        advice = "; renew it, or correct this box's clock" if exc.verify_code in _BY_CLOCK else ""
        return LinkError(f"its certificate is not accepted: {exc.verify_message}{advice}", permanent=True)
    if isinstance(exc, ssl.SSLError) and (refused := _REFUSED.search(exc.reason or "")):
        why = refused[1].replace("_", " ").lower()
        return LinkError(f"does not accept this box's certificate ({why}): `endoedge enrol` it anew", permanent=True)
    if isinstance(exc, ssl.SSLError):
        return LinkError(f"TLS: {exc.reason or exc}")
    if isinstance(exc, socket.gaierror):
        return LinkError("its name cannot be resolved: correct uplink.reports.url, or the network's DNS")
    if isinstance(exc, TimeoutError):
        return LinkError("no answer in time")
    if isinstance(exc, OSError):
        return LinkError(exc.strerror or str(exc))
    return LinkError(f"its answer is not HTTP, or breaks off: {exc}")
