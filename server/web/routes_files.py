"""Pictures, scripts and styles; and how a person wants pages to look."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import select

from server import guard
from server.errors import RefusedError
from server.keep import Keep
from server.signin import local
from server.store.tables import frames
from server.web.pages import LOOKS, static_file

router = APIRouter()
SOMEBODY = [Depends(guard.person("viewer"))]
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_A_YEAR_S = 31_536_000


@router.get("/static/{digest}/{name:path}")
def static(digest: str, name: str) -> Response:
    """For everybody: there is nothing of a patient in it. `digest` makes each version an address of its own."""
    return static_file(name, digest)


@router.get("/frames/{device}/{sha256}", dependencies=SOMEBODY)
def frame(request: Request, device: str, sha256: str) -> Response:
    """A key frame of that box. Its digest is known from a page alone, whose reading the audit has."""
    if not _SHA256.match(sha256):
        raise RefusedError("expected a picture's sha256", 404)
    of = (frames.c.device == device, frames.c.sha256 == sha256)
    with guard.database(request).read() as connection:
        known = connection.execute(select(frames.c.size).where(*of)).scalar_one_or_none()
    keep: Keep = request.app.state.keep
    jpeg = keep.get(sha256) if known is not None else None
    if jpeg is None:
        raise RefusedError("this key frame is not here", 404)
    headers = {"Cache-Control": f"private, max-age={_A_YEAR_S}, immutable", "Content-Security-Policy": "sandbox"}
    return Response(jpeg, media_type="image/jpeg", headers=headers)


@router.post("/look", dependencies=SOMEBODY)
def look(
    request: Request,
    theme: Annotated[str, Form()] = "",
    size: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Without JavaScript, which sets the same cookie itself."""
    chosen = theme if theme in LOOKS else "auto"
    response = RedirectResponse(local(next), 303)
    value = f"{chosen}.{'large' if size == 'large' else 'normal'}"
    response.set_cookie("look", value, max_age=_A_YEAR_S, samesite="lax", secure=guard.encrypted(request))
    return response
