"""A procedure's page: read it, open its forms, see its history."""

from __future__ import annotations

import functools
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from server import guard, reports
from server.export.words import term
from server.guard import Person
from server.reports import Key
from server.web import diff, forms, questions, reading
from server.web.forms import Open
from server.web.pages import is_part, part, place, render
from server.web.reading import Found

router = APIRouter(prefix="/procedures/{device}/{procedure}/{revision}")


def key(device: str, procedure: str, revision: int) -> Key:
    return Key(device, procedure, revision)


Of = Annotated[Key, Depends(key)]
Reader = Annotated[Person, Depends(guard.person("viewer"))]
Writer = Annotated[Person, Depends(guard.person("clinician"))]


@router.get("")
def review(request: Request, of: Of, who: Reader) -> Response:
    return page(request, who, reading.read(request, who, of))


@router.get("/sentences/new")
def new_sentence(request: Request, of: Of, who: Writer, section: str = "findings") -> Response:
    return _opened(request, who, reading.read(request, who, of), Open(kind="add", section=section))


@router.get("/sentences/{sentence}")
def sentence(request: Request, of: Of, who: Reader, sentence: str) -> Response:
    """As it stands: what "Cancel" brings back."""
    found = reading.read(request, who, of)
    one = reading.shown(request, who, found).said(sentence)
    if is_part(request) and one is not None:
        return html(part("_report.html", "sentence", one, reading.shown(request, who, found), who.session.csrf))
    return RedirectResponse(f"{place(of)}#{sentence}", 303)


@router.get("/sentences/{sentence}/edit")
def edit_form(request: Request, of: Of, who: Writer, sentence: str) -> Response:
    found = reading.read(request, who, of)
    opened = forms.editing(found.version.report, sentence) if found.version is not None else None
    return _opened(request, who, found, opened)


@router.get("/sentences/{sentence}/strike")
def strike_form(request: Request, of: Of, who: Writer, sentence: str) -> Response:
    found = reading.read(request, who, of)
    may = found.version is not None and forms.editing(found.version.report, sentence) is not None
    return _opened(request, who, found, Open(kind="strike", sentence=sentence) if may else None)


@router.get("/history")
def history(request: Request, of: Of, who: Reader) -> Response:
    found = reading.read(request, who, of)
    with guard.database(request).read() as connection:
        versions = reports.history(connection, of)
    steps = [
        (version, diff.changes(versions[number - 1].report if number else None, version.report))
        for number, version in enumerate(versions)
    ]
    values = {"view": reading.shown(request, who, found), "steps": steps[::-1], "person": who}
    return render("history.html", values, request=request)


def _opened(request: Request, who: Person, found: Found, form: Open | None) -> Response:
    """A form in its place; without JavaScript the whole page around it."""
    if not is_part(request):
        return page(request, who, found, form)
    shown = reading.shown(request, who, found)
    if form is None:
        return refreshed(request, who, found, None, "This cannot be changed any more.", 409)
    return html(part("_report.html", form.kind, form, shown, who.session.csrf))


def page(
    request: Request,
    who: Person,
    found: Found,
    form: Open | None = None,
    said: str = "",
    status: int = 200,
    *,
    typed: str = "",
    not_answered: str = "",
) -> Response:
    """All of it. `said`: what went wrong; `typed`: a question, and why it was `not_answered`."""
    shown = reading.shown(request, who, found)
    values: dict[str, Any] = {"view": shown, "person": who, "form": form, "said": said}
    values |= {"csrf": who.session.csrf, "typed": typed, "not_answered": not_answered}
    values["term_of"] = functools.partial(term, shown.language)
    with guard.database(request).read() as connection:
        values["asked"] = questions.asked(connection, shown.key)
    return render("review.html", values, status=status, request=request)


def refreshed(request: Request, who: Person, found: Found, form: Open | None, said: str, status: int) -> Response:
    """The report as it is now, with a form that is open again: after somebody else was faster."""
    if not is_part(request):
        return page(request, who, found, form, said, status)
    text = part("_report.html", "report", reading.shown(request, who, found), form, who.session.csrf, said)
    return html(text, status, {"HX-Retarget": "#report", "HX-Reswap": "outerHTML"})


def html(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, "text/html; charset=utf-8")
