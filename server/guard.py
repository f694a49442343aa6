"""Who is asking, and whether they may: FastAPI dependencies. Every route but those of `OPEN` has one of them.

    def page(who: Annotated[Person, Depends(person("viewer"))]) -> ...
    def upload(device: Annotated[str, Depends(box)]) -> ...

`person` lets nobody change anything without the session's CSRF token. The application has `state.database` and
`state.config`. Refusals are RefusedError, which `answer_refused` turns into JSON below /v1, and elsewhere into a page.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from edge.types import Struct
from server import audit, enrolment, sessions
from server.accounts import Role, may
from server.audit import Detail
from server.config import Config
from server.errors import RefusedError
from server.limits import Limits, TooManyError
from server.sessions import Session
from server.store.database import Database
from server.web.pages import render

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


class LoginNeeded(RefusedError):  # noqa: N818
    """401; a page sends its reader to the login and back to `place`."""

    def __init__(self, place: str) -> None:
        super().__init__(NOT_LOGGED_IN, 401)
        self.place = place


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


def check_origin(request: Request) -> None:
    """A change has to come from a page of ours. Browsers say so, and no page can make them say it. Raises
    RefusedError."""
    fetched = request.headers.get("sec-fetch-site")
    if fetched == "same-origin":
        return
    config: Config = request.app.state.config
    asked = urlsplit(str(request.url))
    ours = config.http.url or f"{asked.scheme}://{asked.netloc}"
    origin = request.headers.get("origin")
    if fetched is not None or origin != ours:
        raise RefusedError(f"a page of {origin or 'no known place'} may change nothing here, only one of {ours}", 403)


# ------------------------------------------------------------------------------------------------ people


def person(role: Role, *, touch: bool = True) -> Callable[[Request], Awaitable[Person]]:
    """Whoever is logged in, as `role` or higher. `touch` False: a live page that asks by itself keeps nobody in."""

    async def guard(request: Request) -> Person:
        token = request.cookies.get(cookie(request), "")
        session = await run_in_threadpool(sessions.find, database(request), token, touch=touch) if token else None
        if session is None:
            raise LoginNeeded(request.url.path if request.method == "GET" else "/")
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
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    device = enrolment.box_of(database(request), token.strip()) if scheme.lower() == "bearer" else None
    if device is None:
        raise RefusedError(NOT_A_BOX, 401)
    return device


box.__endoedge_guard__ = "box"  # type: ignore[attr-defined]


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


# ---------------------------------------------------------------------------------------------- refusals


def answer_refused(request: Request, refused: Exception) -> Response:
    """An exception handler for RefusedError."""
    assert isinstance(refused, RefusedError)
    headers: dict[str, str] = {}
    if isinstance(refused, TooManyError):
        headers["Retry-After"] = str(refused.wait_s)
    if request.url.path.startswith("/v1/"):
        if refused.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"error": str(refused)}, refused.status, headers)
    if isinstance(refused, LoginNeeded):
        target = f"/login?next={quote(refused.place)}" if refused.place != "/" else "/login"
        if request.headers.get("hx-request") == "true":  # a part of a page cannot be the login
            return Response(status_code=401, headers={"HX-Redirect": target})
        return RedirectResponse(target, 303)
    values = {"said": str(refused), "person": getattr(request.state, "person", None)}
    return render("refused.html", values, status=refused.status, headers=headers)


def unguarded(app: FastAPI) -> list[str]:
    """Paths whose routes ask nobody who they are."""

    def asks(dependant: Any) -> bool:
        return hasattr(dependant.call, "__endoedge_guard__") or any(asks(part) for part in dependant.dependencies)

    routes: list[Any] = list(app.routes)
    return [route.path for route in routes if not (hasattr(route, "dependant") and asks(route.dependant))]


Values = Mapping[str, Any]
