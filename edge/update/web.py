"""Files from a web server: urllib3, with time limits that a server cannot stretch.

A read's time-out begins anew with each byte, so that a server which drips a byte now and then would hold a reader for
ever: in a handshake, a header, the length of a chunk. A watch therefore shuts the connections down when the time is
over, wherever their reader waits. Only the look-up of a name and a connect are left to their own limits.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from edge import __version__, clock
from edge.errors import UpdateError

CONNECT_S = 10.0
SILENCE_S = 15.0  # a server that says nothing for so long is given up
_REDIRECTS = 3
_RECEIVE = 128 << 10  # bytes of a socket's buffer: what lies there when the power goes is fetched again
_DRAINED = 4096  # of an answer that is no file: read, so that the connection can be used again
_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)")
_FAULTS = (urllib3.exceptions.HTTPError, OSError)


class Limit(NamedTuple):
    """Everything within `seconds`; or, where `quota` is not 0, so many bytes within each `seconds`."""

    seconds: float
    quota: int = 0


class RangeRefusedError(UpdateError):
    """The server has no such part of the file."""


class Web:
    """`base`: without a slash at its end. Closes its connections at its end."""

    def __init__(self, base: str, ca: Path | None, limit: Limit) -> None:
        """`ca`: PEM, instead of the system's authorities. Raises UpdateError: it cannot be read."""
        self.base, self._limit = base, limit
        self._trusts = _trusts(ca)
        self._managers: dict[str, urllib3.PoolManager] = {}
        self._watch = _Watch(limit.seconds)
        self._responses: list[urllib3.BaseHTTPResponse] = []
        self._got = 0  # of the quota

    def __enter__(self) -> Web:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._watch.close()
        for response in self._responses:
            response.close()
        for manager in self._managers.values():
            manager.clear()

    def open(self, name: str, offset: int = 0) -> WebStream:
        """`name`: relative to the base; "": the base itself. The answer may begin at 0 all the same. Raises
        UpdateError: `absent`, `unreachable`, `slow`; RangeRefusedError."""
        url = f"{self.base}/{name}" if name else self.base
        response = self._follow(url, {"Range": f"bytes={offset}-"} if offset else {})
        with self.faults(url):
            if response.status not in (200, 206):
                _drop(response)
            _refuse(response.status, url)
            begins, whole = _extent(response, url, offset)
        return WebStream(self, response, url, begins, whole)

    def got(self, count: int) -> None:
        self._got += count
        if self._limit.quota and self._got >= self._limit.quota:
            self._got = 0
            self._watch.more(self._limit.seconds)

    @contextlib.contextmanager
    def faults(self, url: str) -> Iterator[None]:
        """What breaks within it is an UpdateError. What was cut by the watch may look like an end."""
        try:
            yield
        except _FAULTS as exc:
            if self._watch.over:
                raise self._slow(url) from exc
            if isinstance(exc, urllib3.exceptions.ReadTimeoutError):
                words = f"{url}: the server said nothing for {SILENCE_S:g} s; it is tried again"
                raise UpdateError(words, "slow") from exc
            raise UpdateError(f"{url}: {_reason(exc)}", "unreachable") from exc
        if self._watch.over:
            raise self._slow(url)

    def _slow(self, url: str) -> UpdateError:
        limit = f"{self._limit.quota} bytes in {self._limit.seconds:g} s" if self._limit.quota else ""
        words = f"{url}: too slow: expected {limit or f'all of it within {self._limit.seconds:g} s'}; it is tried again"
        return UpdateError(words, "slow")

    def _follow(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        for _ in range(_REDIRECTS + 1):
            with self.faults(url):
                response = self._ask(url, headers)
                self._responses.append(response)
                where = response.get_redirect_location()
                if not where:
                    return response
                _drop(response)
            onward = urljoin(url, where)
            allowed = ("https",) if url.startswith("https:") else ("https", "http")
            if urlsplit(onward).scheme not in allowed:
                words = f"{url}: it points to {onward[:200]}, expected {' or '.join(allowed)}"
                raise UpdateError(words, "unreachable")
            url = onward
        raise UpdateError(f"{url}: more than {_REDIRECTS} redirects", "unreachable")

    def _ask(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        named = {"User-Agent": f"endoedge/{__version__}", "Accept-Encoding": "identity", **headers}
        return self._manager(url).request(
            "GET",
            url,
            headers=named,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=SILENCE_S),
            preload_content=False,
            decode_content=False,
            redirect=False,
            retries=False,
        )

    def _manager(self, url: str) -> urllib3.PoolManager:
        """The one that goes there: through a proxy where the environment names one."""
        where, proxies = urlsplit(url), getproxies()
        proxy = proxies.get(where.scheme) or proxies.get("all") or ""
        if proxy and proxy_bypass(where.hostname or ""):
            proxy = ""
        if proxy not in self._managers:
            self._managers[proxy] = self._made(proxy)
        return self._managers[proxy]

    def _made(self, proxy: str) -> urllib3.PoolManager:
        options: dict[str, Any] = {"ssl_context": self._trusts, "socket_options": _socket_options()}
        made: urllib3.PoolManager
        if proxy:
            address = proxy if "://" in proxy else f"http://{proxy}"
            who = urlsplit(address)
            said = f"{unquote(who.username)}:{unquote(who.password or '')}" if who.username else None
            made = urllib3.ProxyManager(address, proxy_headers=urllib3.make_headers(proxy_basic_auth=said), **options)
        else:
            made = urllib3.PoolManager(**options)
        made.pool_classes_by_scheme = self._watch.pools()
        return made


class WebStream:
    def __init__(self, web: Web, response: urllib3.BaseHTTPResponse, url: str, begins: int, whole: int | None) -> None:
        self.begins, self.whole = begins, whole
        self._web, self._response, self._url = web, response, url
        self._left = None if whole is None else whole - begins

    def read(self, most: int) -> bytes:
        """What there is just now, at most that; empty at the end. Raises UpdateError: `unreachable`, `slow`."""
        with self._web.faults(self._url):
            piece = self._response.read1(most)
        if self._left is not None:
            self._left -= len(piece)
            if not piece and self._left > 0:
                raise UpdateError(f"{self._url}: it ended {self._left} bytes early", "unreachable")
        self._web.got(len(piece))
        return piece

    def close(self) -> None:
        """A connection whose answer was read to its end can be used again."""
        if self._left == 0:
            self._response.release_conn()
        else:
            self._response.close()


# ------------------------------------------------------------------------------------------- the watch


class _Watch:
    """Shuts connections down when the time is over. Not a time-out of theirs, which any byte begins anew."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._until_s = time.monotonic() + seconds
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, name="update-watch", daemon=True)
        self._thread.start()

    def more(self, seconds: float) -> None:
        self._until_s = time.monotonic() + seconds

    def add(self, made: socket.socket) -> socket.socket:
        """A second handle on it: TLS takes the first one away from whoever has it."""
        with self._lock:
            self._sockets.append(made.dup())
            if self.over:
                _shut(made)
        return made

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        for handle in self._sockets:
            handle.close()

    def _run(self) -> None:
        while (left_s := self._until_s - time.monotonic()) > 0:
            if clock.wait(self._ended, left_s):
                return
        with self._lock:
            self.over = True
            for handle in self._sockets:
                _shut(handle)

    def pools(self) -> dict[str, type[HTTPConnectionPool]]:
        """urllib3's, of connections that are watched from their first byte on."""
        add = self.add

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return add(super()._new_conn())

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return add(super()._new_conn())

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        return {"http": PlainPool, "https": SecurePool}


def _shut(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it was closed meanwhile
        handle.shutdown(socket.SHUT_RDWR)


# ------------------------------------------------------------------------------------------- answers


def _refuse(status: int, url: str) -> None:
    """Raises UpdateError: it is no answer with a file."""
    if status in (200, 206):
        return
    if status == 416:
        raise RangeRefusedError(f"{url}: the server has no such part of it (416)", "unreachable")
    if status in (403, 404, 410):  # stores that may not be listed say 403 of what they do not have
        raise UpdateError(f"{url}: not there ({status})", "absent")
    raise UpdateError(f"{url}: the server answers {status}; it is tried again", "unreachable")


def _extent(response: urllib3.BaseHTTPResponse, url: str, offset: int) -> tuple[int, int | None]:
    """Where the answer begins, and how long the whole file is."""
    if response.status == 200:
        said = response.headers.get("Content-Length", "")
        return 0, int(said) if said.isdecimal() and len(said) < 16 else None
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != offset:
        response.close()
        raise UpdateError(f"{url}: asked for what follows byte {offset}, another part came", "unreachable")
    return offset, None if found[3] == "*" else int(found[3])


def _drop(response: urllib3.BaseHTTPResponse) -> None:
    """An answer that is no file."""
    said = response.headers.get("Content-Length", "")
    if said.isdecimal() and int(said) <= _DRAINED:
        response.drain_conn()
        response.release_conn()
    else:
        response.close()


def _socket_options() -> list[tuple[int, int, int]]:
    return [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE)]


def _trusts(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as exc:  # ssl.SSLError is one
        raise UpdateError(f"{ca}: {exc.strerror or exc}: expected certificates of authorities, PEM") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _reason(exc: BaseException) -> str:
    """In the words of whoever failed first: urllib3's own name its objects."""
    last, seen = exc, [exc]
    while (onward := last.__cause__ or last.__context__ or getattr(last, "reason", None)) and onward not in seen:
        if not isinstance(onward, BaseException):
            break
        last = onward
        seen.append(last)
    if isinstance(exc, urllib3.exceptions.ProtocolError) and isinstance(last, urllib3.exceptions.IncompleteRead):
        return f"it ended {last.expected} bytes early; it is tried again"
    if isinstance(last, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {last.verify_message}; is this box's clock right?"
    if isinstance(last, OSError) and last.strerror:
        return f"{last.strerror}; it is tried again"
    return f"{last or type(last).__name__}; it is tried again"[:300]
