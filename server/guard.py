"""Who is asking, and whether they may: FastAPI dependencies. Every route has one of them, but for a few.

    def page(who: Annotated[Person, Depends(person("viewer"))]) -> ...
    def upload(device: Annotated[str, Depends(box)]) -> ...

`person` lets nobody change anything without the session's CSRF token, in a header or a field of the form. The
application has `state.database` and `state.config`. Refusals are RefusedError.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from edge.types import Struct
from server import audit, enrolment, sessions
from server.audit import Detail
from server.authority import fingerprint
from server.config import Config
from server.errors import RefusedError
from server.limits import Limits
from server.peer import peer_certificate
from server.role import Role, may
from server.sessions import Session
from server.store.database import Database

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf"
NOT_A_BOX = "expected the token of a box that is enrolled"
NOT_LOGGED_IN = "expected a session: log in"
_READ_AGAIN_S = 60.0
_READS_MOST = 10_000


class Person(Struct, frozen=True, kw_only=True):
    account: str
    name: str  # in full
    role: str
    session: Session
    address: str


# ------------------------------------------------------------------------------------- what the request says


def database(request: Request) -> Database:
    found: Database = request.app.state.database
    return found


def limits(request: Request) -> Limits:
    if not hasattr(request.app.state, "limits"):
        request.app.state.limits = Limits()
    found: Limits = request.app.state.limits
    return found


def address(request: Request) -> str:
    return request.client.host if request.client else ""


def encrypted(request: Request) -> bool:
    """As the person's browser sees it."""
    config: Config = request.app.state.config
    return request.url.scheme == "https" or config.http.url.startswith("https://")


def cookie(request: Request) -> str:
    """Its name."""
    return sessions.COOKIE if encrypted(request) else sessions.COOKIE_PLAIN


def origin(request: Request) -> str:
    """As people reach this server."""
    config: Config = request.app.state.config
    asked = urlsplit(str(request.url))
    return config.http.url or f"{asked.scheme}://{asked.netloc}"


def check_origin(request: Request) -> None:
    """A change has to come from a page of ours. Browsers say so, and no page can make them say it. Raises
    RefusedError."""
    fetched = request.headers.get("sec-fetch-site")
    if fetched == "same-origin":
        return
    ours, theirs = origin(request), request.headers.get("origin")
    if fetched is not None or theirs != ours:
        raise RefusedError(f"a page of {theirs or 'no known place'} may change nothing here, only one of {ours}", 403)


# ------------------------------------------------------------------------------------------------ people


def person(role: Role, *, touch: bool = True) -> Callable[[Request], Awaitable[Person]]:
    """Whoever is logged in, as `role` or higher. `touch` False: a live page that asks by itself keeps nobody in."""

    async def guard(request: Request) -> Person:
        token = request.cookies.get(cookie(request), "")
        session = await run_in_threadpool(sessions.find, database(request), token, touch=touch) if token else None
        if session is None:
            raise _login_needed(request)
        found = Person(
            account=session.account,
            name=session.full_name,
            role=session.role,
            session=session,
            address=address(request),
        )
        request.state.person = found
        if request.method in UNSAFE:
            await _check_csrf(request, session)
        if not may(session.role, role):
            await run_in_threadpool(_refused_role, request, found, role)
            raise RefusedError(f"{session.account} is {session.role}: expected {role}", 403)
        return found

    guard.__endoedge_guard__ = role  # type: ignore[attr-defined]
    return guard


def _login_needed(request: Request) -> RefusedError:
    """A page sends its reader to the login and back; a part of one makes htmx do so."""
    if request.url.path.startswith("/v1/"):
        return RefusedError(NOT_LOGGED_IN, 401)
    target = "/login"
    if request.method == "GET" and request.url.path != "/" and "hx-request" not in request.headers:
        query = f"?{request.url.query}" if request.url.query else ""
        target += f"?next={quote(request.url.path + query, safe='/')}"
    if "hx-request" in request.headers:
        return RefusedError(NOT_LOGGED_IN, 401, {"HX-Redirect": target})
    return RefusedError(NOT_LOGGED_IN, 303, {"Location": target})


async def _check_csrf(request: Request, session: Session) -> None:
    check_origin(request)
    sent = request.headers.get(CSRF_HEADER)
    if sent is None and request.headers.get("content-type", "").startswith(
        ("application/x-www-form-urlencoded", "multipart/form-data")
    ):
        field = (await request.form()).get(CSRF_FIELD)
        sent = field if isinstance(field, str) else None
    if not hmac.compare_digest((sent or "").encode("utf-8", "replace"), session.csrf.encode()):
        raise RefusedError("expected the session's CSRF token: load the page again", 403)


def _refused_role(request: Request, who: Person, role: str) -> None:
    with database(request).write() as connection:
        detail = {"path": audit.line(request.url.path, 200), "expected": role}
        audit.record(connection, who.account, "refused", address=who.address, detail=detail)


# ------------------------------------------------------------------------------------------------- boxes


def box(request: Request) -> str:
    """The device that asks, by its certificate or its token."""
    if (device := box_by_certificate(request)) is not None:
        return device
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    device = enrolment.box_of(database(request), token.strip()) if scheme.lower() == "bearer" else None
    if device is None:
        raise RefusedError(NOT_A_BOX, 401, {"WWW-Authenticate": "Bearer"})
    return device


def box_by_certificate(request: Request) -> str | None:
    shown = peer_certificate(request.scope)
    return enrolment.box_of_certificate(database(request), fingerprint(shown)) if shown is not None else None


def certified_box(request: Request) -> str:
    """The device that asks, by its certificate alone."""
    device = box_by_certificate(request)
    if device is None:
        raise RefusedError("expected the certificate of a box that is enrolled", 401)
    return device


box.__endoedge_guard__ = certified_box.__endoedge_guard__ = "box"  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------- audit


def note(
    connection: Connection, who: Person, what: str, device: str, procedure: str, detail: Detail | None = None
) -> None:
    """What a person does to a procedure; at the end of the transaction that does it."""
    audit.record(connection, who.account, what, address=who.address, device=device, procedure=procedure, detail=detail)


class Reads:
    """What a person has read. A page that loads its parts, or again and again, is one line a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._told: OrderedDict[tuple[str, ...], float] = OrderedDict()

    def note(self, database: Database, who: Person, what: str, device: str, procedure: str) -> None:
        key, now = (who.session.digest, what, device, procedure), self._clock()
        with self._lock:
            if now - self._told.get(key, -_READ_AGAIN_S) < _READ_AGAIN_S:
                return
        with database.write() as connection:
            note(connection, who, what, device, procedure)
        with self._lock:
            self._told[key] = now
            self._told.move_to_end(key)
            if len(self._told) > _READS_MOST:
                self._told.popitem(last=False)


def note_read(request: Request, who: Person, what: str, device: str, procedure: str) -> None:
    """Before anything of the procedure is shown."""
    if not hasattr(request.app.state, "reads"):
        request.app.state.reads = Reads()
    reads: Reads = request.app.state.reads
    reads.note(database(request), who, what, device, procedure)


# ------------------------------------------------------------------------------------------------- routes


def unguarded(app: FastAPI) -> list[str]:
    """Paths whose routes ask nobody who they are."""

    def asks(dependant: Any) -> bool:
        return hasattr(dependant.call, "__endoedge_guard__") or any(asks(part) for part in dependant.dependencies)

    routes = iter_route_contexts(app.routes)
    return [str(route.path) for route in routes if not (hasattr(route, "dependant") and asks(route.dependant))]
