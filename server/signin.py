"""Logging in and out, the own password, and showing again who one is before a signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from server import accounts, guard, limits, sessions
from server.config import Config
from server.errors import RefusedError
from server.guard import Person
from server.web.pages import render

router = APIRouter()
NOBODY = "there is no account yet: an administrator makes the first one with `endoedge-server account create`"
SIGN_AGAIN = "expected your password: more than five minutes ago you last showed who you are"
PROVE_THERE = "expected you to show the identity provider again who you are: more than five minutes ago you last did"
Text = Annotated[str, Form()]
Somebody = Annotated[Person, Depends(guard.person("viewer"))]


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:
    token = request.cookies.get(guard.cookie(request), "")
    if token and sessions.find(guard.database(request), token):
        return RedirectResponse(local(next), 303)
    config: Config = request.app.state.config
    said = "" if config.oidc or accounts.everybody(guard.database(request)) else NOBODY
    return page(request, "login.html", **shown(request, next=next, said=said))


@router.post("/login")
def login(request: Request, name: Text = "", password: Text = "", next: Text = "/") -> Response:
    guard.check_origin(request)
    address, bounds = guard.address(request), guard.limits(request)
    try:
        if only_oidc(request):
            raise RefusedError("this server takes no passwords: log in at the identity provider", 403)
        bounds.login.take(limits.place(address))
        bounds.login_name.take(name.strip().lower()[:64])
        account = accounts.prove(guard.database(request), name, password, address=address)
    except RefusedError as exc:
        values = shown(request, next=next, name=name[:64], said=str(exc))
        return page(request, "login.html", status=exc.status, headers=exc.headers, **values)
    return welcome(request, account.name, local(next), how="password")


def shown(request: Request, *, next: str = "/", name: str = "", said: str = "") -> dict[str, Any]:
    """What the login page says."""
    config: Config = request.app.state.config
    provider = urlsplit(config.oidc.issuer).hostname if config.oidc is not None else ""
    return {"next": local(next), "name": name, "said": said, "provider": provider, "password": not only_oidc(request)}


def only_oidc(request: Request) -> bool:
    config: Config = request.app.state.config
    return config.oidc is not None and config.oidc.only


def welcome(request: Request, account: str, place: str, *, how: str, proven_at: str = "") -> Response:
    """A new session; the one that this browser had is over."""
    database, address = guard.database(request), guard.address(request)
    if (token := request.cookies.get(guard.cookie(request))) and (old := sessions.find(database, token)):
        sessions.close(database, old, address=address)
    response = RedirectResponse(place, 303)
    response.set_cookie(
        guard.cookie(request),
        sessions.open_session(database, account, address=address, how=how, proven_at=proven_at),
        secure=guard.encrypted(request),
        httponly=True,
        samesite="lax",
        path="/",
    )
    return response


@router.post("/logout")
def logout(request: Request, who: Somebody) -> Response:
    sessions.close(guard.database(request), who.session, address=who.address)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(guard.cookie(request), secure=guard.encrypted(request), httponly=True, samesite="lax")
    return response


@router.get("/account")
def account_page(request: Request, who: Somebody, done: str = "") -> Response:
    return page(request, "account.html", person=who, said="", done=bool(done))


@router.post("/account")
def change_password(request: Request, who: Somebody, old: Text = "", new: Text = "", again: Text = "") -> Response:
    database = guard.database(request)
    try:
        if new != again:
            raise RefusedError("the new password was not typed the same way twice")
        _prove(request, who, old, "password")
        accounts.set_password(
            database, who.account, new, by=who.account, address=who.address, but_session=who.session.digest
        )
    except RefusedError as exc:
        return page(request, "account.html", status=exc.status, person=who, said=str(exc), done=False)
    return RedirectResponse("/account?done=1", 303)


@router.post("/prove")
def prove_again(request: Request, who: Somebody, password: Text = "", next: Text = "") -> Response:
    """For a page that is about to sign. 204, or back to `next`."""
    require_proof(request, who, password, always=True)
    return RedirectResponse(local(next), 303) if next else Response(status_code=204)


def require_proof(request: Request, who: Person, password: str, *, always: bool = False) -> None:
    """Before a signature: that the person has lately shown, or now shows, who it is. Raises RefusedError (401)."""
    if who.session.proven and not always:
        return
    if not who.session.local:
        raise RefusedError(PROVE_THERE, 401)
    if not password:
        raise RefusedError(SIGN_AGAIN, 401)
    _prove(request, who, password, "prove")
    sessions.proven(guard.database(request), who.session)


def _prove(request: Request, who: Person, password: str, what: str) -> None:
    guard.limits(request).login_name.take(who.account)
    accounts.prove(guard.database(request), who.account, password, address=who.address, what=what)


# -------------------------------------------------------------------------------------------------- pages


def local(place: str) -> str:
    """A path of ours; "/" for whatever else somebody wrote into a link."""
    fine = place.isascii() and place.isprintable() and place.startswith("/") and not place.startswith("//")
    return place if fine and "\\" not in place and not place.startswith("/log") else "/"


def page(
    request: Request,
    template: str,
    /,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    person: Person | None = None,
    **values: Any,
) -> Response:
    return render(template, {"person": person, **values}, status=status, headers=headers, request=request)
