"""`/login/oidc`: to the identity provider and back."""

from __future__ import annotations

import base64
import binascii

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from server import audit, clock, guard, identities, limits, sessions, signin
from server.config import Config
from server.errors import RefusedError
from server.oidc import Proof, Provider, Started

router = APIRouter()
COOKIE, COOKIE_PLAIN = "__Host-endoedge-oidc", "endoedge-oidc"
_WITHIN_S = 600
_BACK = "/login/oidc/back"


@router.get("/login/oidc")
def leave(request: Request, next: str = "/", prove: bool = False) -> Response:
    guard.limits(request).login.take(limits.place(guard.address(request)))
    url, started = _provider(request).start(_back(request), signin.local(next), prove=prove)
    response = RedirectResponse(url, 303)
    response.set_cookie(
        _cookie(request),
        base64.urlsafe_b64encode(msgspec.json.encode(started)).decode(),
        max_age=_WITHIN_S,
        secure=guard.encrypted(request),
        httponly=True,
        samesite="lax",
        path="/",
    )
    return response


@router.get(_BACK)
def come_back(request: Request) -> Response:
    guard.limits(request).login.take(limits.place(guard.address(request)))
    provider = _provider(request)
    try:
        started = _started(request)
        proof = provider.finish(_back(request), started, request.query_params)
        response = _proven(request, started, proof) if started.prove else _welcome(request, started, proof)
    except RefusedError as exc:
        with guard.database(request).write() as connection:
            detail: audit.Detail = {"how": "oidc", "status": exc.status}
            audit.record(connection, "", "login.failed", address=guard.address(request), detail=detail)
        response = signin.page(request, "login.html", status=exc.status, **signin.shown(request, said=str(exc)))
    response.delete_cookie(_cookie(request), secure=guard.encrypted(request), httponly=True, samesite="lax")
    return response


def _welcome(request: Request, started: Started, proof: Proof) -> Response:
    account = identities.account_of(guard.database(request), proof.identity, address=guard.address(request))
    return signin.welcome(
        request, account.name, signin.local(started.next), how="oidc", proven_at=_at(proof.auth_time or 0)
    )


def _proven(request: Request, started: Started, proof: Proof) -> Response:
    """The session that there is, if it is that person's."""
    database = guard.database(request)
    account = identities.account_of(database, proof.identity, address=guard.address(request))
    session = sessions.find(database, request.cookies.get(guard.cookie(request), ""))
    if session is None or session.account != account.name:
        raise RefusedError("somebody else is logged in here: log out first", 403)
    sessions.proven(database, session, _at(proof.auth_time or 0))
    return RedirectResponse(signin.local(started.next), 303)


def _at(seconds: int) -> str:
    return min(clock.of(seconds), clock.now())


def _provider(request: Request) -> Provider:
    config: Config = request.app.state.config
    if config.oidc is None:
        raise RefusedError("this server has no identity provider", 404)
    if not hasattr(request.app.state, "oidc"):
        request.app.state.oidc = Provider(config.oidc)
    found: Provider = request.app.state.oidc
    return found


def _back(request: Request) -> str:
    return guard.origin(request) + _BACK


def _cookie(request: Request) -> str:
    return COOKIE if guard.encrypted(request) else COOKIE_PLAIN


def _started(request: Request) -> Started:
    try:
        kept = base64.urlsafe_b64decode(request.cookies.get(_cookie(request), "").encode())
        return msgspec.json.decode(kept, type=Started)
    except (binascii.Error, UnicodeEncodeError, msgspec.DecodeError) as exc:
        raise RefusedError("this login was not begun in this browser, or too long ago: begin again", 403) from exc
