"""A report as files: PDF, FHIR bundle, the box's record; and where it went. For whoever may read it.

A PDF is made in a process of its own (`server.printing`); threads that wait for one are not those that serve pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import anyio
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import Response
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from server import deliveries, guard
from server.case import case_of
from server.config import Config
from server.errors import RefusedError
from server.export.case import Case, ExportError
from server.guard import Person
from server.printing import Printers
from server.reports import Key
from server.store.tables import records
from server.web.pages import is_part, part, place, render

AT_ONCE = 2  # PDFs that are made at once by this process
_ENOUGH = 286  # htmx asks no more
_OURS = "private, no-cache"  # asked for again each time, and answered in a word where nothing changed

router = APIRouter(prefix="/procedures/{device}/{procedure}/{revision}")
T = TypeVar("T")


def prepare(app: FastAPI) -> None:
    """`app.state.printers.close()` ends their processes; they end with this one anyhow."""
    app.state.printers = Printers(AT_ONCE)
    app.state.printing = anyio.CapacityLimiter(AT_ONCE)


def _key(device: str, procedure: str, revision: int) -> Key:
    return Key(device, procedure, revision)


Of = Annotated[Key, Depends(_key)]
Reader = Annotated[Person, Depends(guard.person("viewer"))]
Watcher = Annotated[Person, Depends(guard.person("viewer", touch=False))]


@router.get("/report.pdf")
async def report_pdf(request: Request, of: Of, who: Reader, number: int = 0) -> Response:
    """`number`: of the version, 0 the newest. A draft has its mark on every page."""
    case = await run_in_threadpool(_case, request, of, number)
    await _noted(request, who, "report.pdf", of)
    if _known(request, case):
        return Response(status_code=304, headers=_headers(case))
    made = await _made(request, _pdf, case)
    return Response(made, headers=_headers(case, of, "pdf"), media_type="application/pdf")


@router.get("/report.fhir.json")
async def report_fhir(request: Request, of: Of, who: Reader, number: int = 0) -> Response:
    """The transaction that a FHIR server gets."""
    case = await run_in_threadpool(_case, request, of, number)
    await _noted(request, who, "report.fhir", of)
    if _known(request, case):
        return Response(status_code=304, headers=_headers(case))
    made = await _made(request, _fhir, case)
    return Response(made, headers=_headers(case, of, "fhir.json"), media_type="application/fhir+json")


@router.get("/record.json")
def record_json(request: Request, of: Of, who: Reader) -> Response:
    """To the byte as the box sent it."""
    with guard.database(request).read() as connection:
        same = (records.c[name] == value for name, value in of._asdict().items())
        found = connection.execute(select(records.c.body, records.c.digest).where(*same)).one_or_none()
    if found is None:
        raise RefusedError(f"there is no record of {of}", 404)
    guard.note_read(request, who, "record.read", of.device, of.procedure)
    headers = {"Cache-Control": _OURS, "ETag": f'"{found.digest}"', "Content-Disposition": _name(of, "record.json")}
    return Response(found.body, headers=headers, media_type="application/json")


@router.get("/deliveries")
def delivered(request: Request, of: Of, who: Watcher) -> Response:
    """Where this report went, and what is to be taken back by hand."""
    config: Config = request.app.state.config
    with guard.database(request).read() as connection:
        sent = deliveries.of(connection, of)
        astray = deliveries.astray(connection, config, of)
    values: dict[str, Any] = {
        "person": who,
        "csrf": who.session.csrf,
        "sent": [(one, deliveries.named(config, one.target)) for one in sent],
        "astray": astray,
        "place": place(of),
        "systems": [deliveries.named(config, target) for target in deliveries.configured(config)],
    }
    if is_part(request):  # of a page whose reading the audit has; it asks again until nothing is under way
        under_way = any(one.state in ("waiting", "sending") for one in sent)
        return Response(part("_delivered.html", "list", values), 200 if under_way else _ENOUGH, media_type="text/html")
    guard.note_read(request, who, "deliveries.read", of.device, of.procedure)
    return render("delivered.html", {**values, "values": values}, request=request)


# ------------------------------------------------------------------------------------------------ the parts


def _case(request: Request, of: Key, number: int) -> Case:
    state = request.app.state
    return _told(lambda: case_of(state.database, state.keep, state.config, of, number))


async def _made(request: Request, make: Callable[[Printers, Case], bytes], case: Case) -> bytes:
    """In a thread that is for this alone."""
    state = request.app.state

    def made() -> bytes:
        return _told(lambda: make(state.printers, case))

    return await anyio.to_thread.run_sync(made, limiter=state.printing)


def _pdf(printers: Printers, case: Case) -> bytes:
    return printers.pdf(case)


def _fhir(printers: Printers, case: Case) -> bytes:
    from server.export import fhir

    return json.dumps(fhir.bundle(case, printers.pdf(case)), indent=1).encode()


def _told(make: Callable[[], T]) -> T:
    """A report that cannot be written is no fault of the program: its reader is told why."""
    try:
        return make()
    except ExportError as exc:
        raise RefusedError(str(exc), 409) from exc


async def _noted(request: Request, who: Person, what: str, of: Key) -> None:
    await run_in_threadpool(guard.note_read, request, who, what, of.device, of.procedure)


def _known(request: Request, case: Case) -> bool:
    return request.headers.get("if-none-match", "") == f'"{case.digest}"'


def _headers(case: Case, of: Key | None = None, ending: str = "") -> dict[str, str]:
    headers = {"Cache-Control": _OURS, "ETag": f'"{case.digest}"'}
    if of is not None:
        state = "report" if case.signed else "draft"
        headers["Content-Disposition"] = _name(of, f"{state}.{ending}")
    return headers


def _name(of: Key, ending: str) -> str:
    """A procedure's id has letters, digits and hyphens."""
    return f'inline; filename="{of.procedure}-{of.revision}-{ending}"'
