"""What boxes send: key frames (PUT by sha256) and procedures' records (POST). The other end: `edge/uplink/handover.py`.

An answer of 2xx means that it is on the disk: the box removes what it names. All of it may be sent again. A body is
read up to its limit and no further, is never unpacked, and is held against what it claims to be before it is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from PIL import Image
from sqlalchemy import update
from sqlalchemy.dialects import postgresql, sqlite
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from edge.procedure import VERSION, Record
from edge.spooled import RECORD_MOST
from server import audit, erasure, guard, pictures, reports
from server.clock import later, now
from server.errors import RefusedError
from server.export import jpeg
from server.keep import Keep
from server.store.database import Database
from server.store.tables import boxes, frames

FRAME_MOST = 8 << 20  # bytes
SIDE_MOST = 8192  # px
SILENCE_S = 30.0  # so long a body may stand still
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[0-9A-Za-z-]{1,64}\Z")
_WILD = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

Device = Annotated[str, Depends(guard.box)]
router = APIRouter(prefix="/v1", max_body_size=1 << 62)  # `body` has the limits, and words for them


@router.get("/box")
def box(request: Request, device: Device) -> dict[str, str]:
    """Who the server takes this box for, and what time it is there."""
    seen(request.app.state.database, device)
    return {"device": device, "time": now()}


@router.put("/frames/{sha256}")
async def put_frame(sha256: str, request: Request, device: Device) -> JSONResponse:
    if not _SHA256.match(sha256):
        raise RefusedError("expected the picture's sha256, 64 hexadecimal digits", 404)
    content = await body(request, FRAME_MOST, "image/jpeg")
    state = request.app.state
    new = await run_in_threadpool(take_frame, state.database, state.keep, device, sha256, content)
    return JSONResponse({"taken": sha256}, 201 if new else 200)


@router.post("/procedures")
async def post_procedure(request: Request, device: Device) -> JSONResponse:
    content = await body(request, RECORD_MOST, "application/json")
    return await run_in_threadpool(_procedure, request, device, content)


def _procedure(request: Request, device: str, content: bytes) -> JSONResponse:
    record = read_record(content, device)
    missing, new = take_record(request.app.state.database, record, content, guard.address(request))
    if missing:
        return JSONResponse({"error": "send these key frames first", "missing": missing}, 409)
    return JSONResponse({"taken": reports.key_of(record)._asdict()}, 201 if new else 200)


# ---------------------------------------------------------------------------------------------- what is kept


def take_frame(database: Database, keep: Keep, device: str, sha256: str, content: bytes) -> bool:
    """False: it was there. Raises RefusedError."""
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise RefusedError(f"expected a picture with the sha256 {sha256}, got one with {found}")
    told = _picture(content)
    keep.put(sha256, content)
    row = {"device": device, "sha256": sha256, "size": len(content), "width": told.width, "height": told.height}
    with database.write() as connection:
        pictures.taking(connection, sha256)
        insert = (sqlite if database.is_sqlite else postgresql).insert(frames)
        once = insert.values(**row, received_at=now()).on_conflict_do_nothing().returning(frames.c.sha256)
        new = connection.execute(once).first() is not None
    if new:
        keep.put(sha256, content)  # the file may have gone with an erased procedure; it does not any more
    return new


def _picture(content: bytes) -> jpeg.Jpeg:
    """Decoded whole, once: a picture that cannot be shown is refused while the box still has it."""
    try:
        told = jpeg.read(content)
        if max(told.width, told.height) > SIDE_MOST or min(told.width, told.height) < 1:
            raise RefusedError(f"a picture of {told.width}x{told.height}, expected at most {SIDE_MOST} on a side")
        if not told.baseline or told.components not in (1, 3):
            raise RefusedError("expected a baseline JPEG of one or three components of 8 bits")
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as picture:
            picture.load()
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as exc:
        raise RefusedError(f"not a picture that can be shown: {exc}") from exc
    return told


def read_record(content: bytes, device: str) -> Record:
    """Raises RefusedError."""
    try:
        record = msgspec.json.decode(content, type=Record)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise RefusedError(f"not a procedure's record: {exc}") from exc
    if record.version != VERSION:
        raise RefusedError(f"a record of version {record.version}, expected {VERSION}")
    if record.heading.device != device:
        raise RefusedError(f"a record of the box {record.heading.device!r}, sent by {device!r}", 403)
    if record.state == "running":
        raise RefusedError("a record of a procedure that still runs")
    facts = (record.landmarks, record.findings, record.judgements, record.interruptions)
    if len(record.ids()) != 1 + sum(len(part) for part in facts):
        raise RefusedError("a record in which two facts have one id")
    if not _NAME.match(record.procedure) or any(_WILD.search(text) for text in _texts(msgspec.to_builtins(record))):
        raise RefusedError("a record with control characters in a text")
    return record


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return [text for part in parts for text in _texts(part)]


def take_record(database: Database, record: Record, content: bytes, address: str = "") -> tuple[list[str], bool]:
    """Key frames that are missing, or whether it is new. The record itself is the job: workers draft what has no
    report. Raises RefusedError."""
    device = record.heading.device
    with database.write() as connection:
        if erasure.erased_at(connection, device, record.procedure):
            return [], False  # the box need not keep it either
        if missing := reports.missing_frames(connection, record):
            return missing, False
        if wrong := reports.wrong_frame(connection, record):
            raise RefusedError(f"record of {record.procedure}: {wrong}")
        new = reports.keep_record(connection, record, content)
        if new:
            as_seen = {"seen_at": now(), "software": record.heading.made_by.software}
            connection.execute(update(boxes).where(boxes.c.device == device).values(as_seen))
            detail = {"revision": record.revision, "bytes": len(content)}
            audit.record(
                connection,
                f"box:{device}",
                "record.taken",
                address=address,
                device=device,
                procedure=record.procedure,
                detail=detail,
            )
    return [], new


def seen(database: Database, device: str) -> None:
    """At most every ten seconds: a row that everybody looks at is not written for each request."""
    with database.write() as connection:
        old = (boxes.c.seen_at.is_(None)) | (boxes.c.seen_at < later(-10))
        connection.execute(update(boxes).where(boxes.c.device == device, old).values(seen_at=now()))


# --------------------------------------------------------------------------------------------------- bodies


async def body(request: Request, most: int, kind: str) -> bytes:
    """Raises RefusedError: 411 to 415, 408 when it stands still."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
        raise RefusedError(f"expected Content-Type: {kind}", 415)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError("expected a body as it is: no Content-Encoding is taken", 415)
    told = request.headers.get("content-length", "")
    if told and (not told.isdecimal() or int(told) > most):
        raise RefusedError(f"expected at most {most >> 20} MiB", 413)
    parts, size = [], 0
    stream = request.stream()
    try:
        while part := await asyncio.wait_for(anext(stream, b""), SILENCE_S):
            size += len(part)
            if size > most:
                raise RefusedError(f"expected at most {most >> 20} MiB", 413)
            parts.append(part)
    except (TimeoutError, asyncio.TimeoutError) as exc:
        raise RefusedError(f"the body stood still for {SILENCE_S:g} s", 408) from exc
    except ClientDisconnect as exc:
        raise RefusedError("the body broke off", 400) from exc
    return b"".join(parts)
