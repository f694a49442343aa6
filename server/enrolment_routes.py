"""`POST /v1/enrol`: a box gives its code. `POST /v1/renew`: it shows its certificate and gets another one. The other
end: `edge/cli/enrol.py`.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from msgspec import Meta
from starlette.concurrency import run_in_threadpool

from edge.types import Struct
from server import authority, enrolment, guard, limits
from server.authority import Authority
from server.config import Config
from server.errors import RefusedError

ASKED_MOST = 16 << 10  # bytes
NO_AUTHORITY = "this server makes no certificates: enrol without one, or have `endoedge-server authority init` run"
NO_TLS = "TLS ends before this server, so that it would never see a certificate: enrol without one"
router = APIRouter(prefix="/v1", max_body_size=ASKED_MOST)
Csr = Annotated[str, Meta(max_length=authority.CSR_MOST)]
T = TypeVar("T")


class Asked(Struct, frozen=True, kw_only=True):
    device: Annotated[str, Meta(max_length=64)]
    code: Annotated[str, Meta(max_length=100)]
    csr: Csr = ""  # PEM; "" for a token


class Again(Struct, frozen=True, kw_only=True):
    csr: Csr


@router.post("/enrol")
async def enrol(request: Request) -> JSONResponse:
    guard.limits(request).enrol.take(limits.place(guard.address(request)))
    asked = read(await request.body(), Asked, '{"device": ..., "code": ...}')
    return await run_in_threadpool(_enrol, request, asked)


@router.post("/renew")
async def renew(request: Request, device: Annotated[str, Depends(guard.certified_box)]) -> JSONResponse:
    asked = read(await request.body(), Again, '{"csr": ...}')
    return await run_in_threadpool(_renew, request, device, asked)


def _enrol(request: Request, asked: Asked) -> JSONResponse:
    database, address = guard.database(request), guard.address(request)
    if not asked.csr:
        return JSONResponse({"token": enrolment.enrol(database, asked.device, asked.code, address=address)}, 201)
    enrolment.check_device(asked.device)
    chain, digest = _authority(request).certify(asked.device, asked.csr)
    enrolment.enrol(database, asked.device, asked.code, certificate=digest, address=address)
    return JSONResponse({"certificate": chain}, 201)


def _renew(request: Request, device: str, asked: Again) -> JSONResponse:
    """The present one stays good until the new one is shown: who knows whether this answer arrives."""
    chain, digest = _authority(request).certify(device, asked.csr)
    enrolment.renew(guard.database(request), device, digest, address=guard.address(request))
    return JSONResponse({"certificate": chain}, 201)


def _authority(request: Request) -> Authority:
    config: Config = request.app.state.config
    data = config.folder
    if not config.http.certificate:
        raise RefusedError(NO_TLS, 409)
    if authority.certificate_file(data) is None:
        raise RefusedError(NO_AUTHORITY, 409)
    return Authority(data)


def read(content: bytes, kind: type[T], expected: str) -> T:
    """Raises RefusedError."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as exc:
        raise RefusedError(f"{exc}; expected {expected}") from exc
