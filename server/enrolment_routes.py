"""`POST /v1/enrol`: a box gives its code. The other end: `edge/cli/enrol.py`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from msgspec import Meta
from starlette.concurrency import run_in_threadpool

from edge.types import Struct
from server import enrolment, guard, limits
from server.errors import RefusedError

ASKED_MOST = 16 << 10  # bytes
router = APIRouter(prefix="/v1", max_body_size=ASKED_MOST)


class Asked(Struct, frozen=True, kw_only=True):
    device: Annotated[str, Meta(max_length=64)]
    code: Annotated[str, Meta(max_length=100)]


@router.post("/enrol")
async def enrol(request: Request) -> JSONResponse:
    guard.limits(request).enrol.take(limits.place(guard.address(request)))
    asked = read(await request.body())
    return await run_in_threadpool(_enrol, request, asked)


def _enrol(request: Request, asked: Asked) -> JSONResponse:
    token = enrolment.enrol(guard.database(request), asked.device, asked.code, address=guard.address(request))
    return JSONResponse({"token": token}, 201)


def read(content: bytes) -> Asked:
    """Raises RefusedError."""
    try:
        return msgspec.json.decode(content, type=Asked)
    except msgspec.DecodeError as exc:
        raise RefusedError(f'{exc}; expected {{"device": ..., "code": ...}}') from exc
