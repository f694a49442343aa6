"""Whom the hospital has planned around a procedure's time: the patient is chosen instead of typed.

What is looked for and who is chosen may be names: they are sent in bodies, never in an address.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from server import guard, worklist
from server.clock import UTC
from server.config import Config
from server.errors import RefusedError
from server.export.case import ExportError, moment
from server.guard import Person
from server.reports import Key
from server.web import reading
from server.web.pages import is_part, part, render
from server.web.reading import Found
from server.web.routes_review import Of, Writer, html
from server.web.routes_sign import FIELDS, Typed, sign_form_of

router = APIRouter(prefix="/procedures/{device}/{procedure}/{revision}")


@router.get("/worklist")
def planned(request: Request, of: Of, who: Writer) -> Response:
    return _list(request, who, of, "")


@router.post("/worklist")
def search(request: Request, of: Of, who: Writer, text: Annotated[str, Form(max_length=100)] = "") -> Response:
    return _list(request, who, of, text)


@router.post("/sign/choose")
def choose(request: Request, of: Of, who: Writer, typed: Typed) -> Response:
    """The form to sign, with that patient in it. Nothing is joined yet."""
    return sign_form_of(request, who, reading.read(request, who, of), typed, "", chosen=True)


def _list(request: Request, who: Person, of: Key, text: str) -> Response:
    config: Config = request.app.state.config
    if config.worklist is None:
        raise RefusedError("no worklist is configured: the patient is typed in", 404)
    found, said = reading.read(request, who, of), ""
    entries: list[worklist.Entry] = []
    try:
        entries = worklist.find(config.worklist, _near(found), text)
    except worklist.WorklistError as exc:
        said = f"{exc}. Type the patient in."
    guard.note_read(request, who, "worklist.read", of.device, of.procedure)
    values: dict[str, Any] = {
        "view": reading.shown(request, who, found),
        "person": who,
        "csrf": who.session.csrf,
        "entries": [(entry, _at(entry)) for entry in entries],
        "text": text,
        "said": said,
        "fields": FIELDS,
    }
    if is_part(request):
        return html(part("_worklist.html", "planned", values))
    return render("worklist.html", {**values, "values": values}, request=request)


def _near(found: Found) -> datetime.datetime:
    """The procedure's start; now, where the box's clock could not be believed."""
    heading = found.record.heading
    try:
        return moment(heading.started_at) if heading.clock_trusted else datetime.datetime.now(UTC)
    except ExportError:
        return datetime.datetime.now(UTC)


def _at(entry: worklist.Entry) -> str:
    return entry.scheduled.strftime("%Y-%m-%d %H:%M") if entry.scheduled is not None else ""
