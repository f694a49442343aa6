"""The web application: what is wired to what. One process of `endoedge-server serve`; it keeps nothing that another one
would need, so any number may run on one database."""

from __future__ import annotations

import importlib
import logging

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import documents
from server.config import Config
from server.errors import RefusedError, ServerError
from server.keep import Keep
from server.settled import settle
from server.store.database import Database
from server.web.routes import prepare

log = logging.getLogger(__name__)
ROUTERS = ("receive", "enrolment_routes", "signin", "oidc_routes", "health", "documents", "web.routes")
"""Modules of `server` with a `router`."""
FORM_MOST = 1 << 20  # bytes of what a page sends; what boxes send has limits of its own
_EVERY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
}


def create(config: Config, database: Database, keep: Keep) -> FastAPI:
    """`database` has its tables."""
    app = FastAPI(
        title="EndoEdge report server", docs_url=None, redoc_url=None, openapi_url=None, max_body_size=FORM_MOST
    )
    app.state.config, app.state.database, app.state.keep = config, database, keep
    app.add_middleware(Headers)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(ServerError, _failed)
    app.add_exception_handler(HTTPException, _http)
    prepare(app)
    documents.prepare(app)
    for name in ROUTERS:
        app.include_router(importlib.import_module(f"server.{name}").router)
    settle()
    return app


class Headers:
    """What every answer has. Plain ASGI: a stream of events has to pass."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _EVERY.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        await self._app(scope, receive, told)


def is_machine(request: Request) -> bool:
    """A box, which is answered in JSON; people get a page."""
    return request.url.path.startswith("/v1/")


async def _refused(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RefusedError)
    response = _say(request, exc.status, str(exc))
    response.headers.update(exc.headers)
    return response


async def _failed(request: Request, exc: Exception) -> Response:
    """A database or a disk that is away: a box tries again later, a person is told."""
    log.error("%s %s: %s", request.method, request.url.path, exc)
    return _say(request, 503, "the server cannot do this now; its log says why")


async def _http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    response = _say(request, exc.status_code, str(exc.detail))
    response.headers.update(exc.headers or {})
    return response


def _say(request: Request, status: int, sentence: str) -> Response:
    response = JSONResponse({"error": sentence}, status)
    if not is_machine(request) and (page := getattr(request.app.state, "error_page", None)) is not None:
        response = page(request, status, sentence)
    if status in (408, 411, 413, 415):  # what is left of the body is not read
        response.headers["Connection"] = "close"
    return response
