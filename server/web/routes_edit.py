"""Changes to a draft: replace a sentence, add, strike, restore. Each form carries the number of the version that it was
made for; whoever is late gets the form again, with what was typed, beside the report as it is now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, get_args

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from msgspec.structs import replace

from edge.procedure import Record
from server import edits, guard, reports
from server.errors import RefusedError
from server.guard import Person
from server.report import Report, Section
from server.reports import Key
from server.web import reading
from server.web.forms import Open, late
from server.web.pages import is_part, part, place
from server.web.reading import Found
from server.web.routes_review import Of, Writer, html, refreshed

router = APIRouter(prefix="/procedures/{device}/{procedure}/{revision}/sentences")
Text = Annotated[str, Form()]
Texts = Annotated[list[str], Form()]
Number = Annotated[int, Form(ge=0)]
Edit = Callable[[Report, Record], Report]


class LateError(RefusedError):
    """Somebody else was faster."""

    def __init__(self) -> None:
        super().__init__("the report was changed meanwhile", 409)


@router.post("")
def add(
    request: Request,
    of: Of,
    who: Writer,
    after: Number,
    section: Text,
    text: Text = "",
    cites: Texts = [],  # noqa: B006
) -> Response:
    known = section if section in get_args(Section) else "summary"
    form = Open(kind="add", section=known, text=text, cites=tuple(cites))

    def edit(report: Report, record: Record) -> Report:
        if section != known:
            raise RefusedError(f"section {section[:40]!r}: expected one of {', '.join(get_args(Section))}")
        return edits.add(report, section, text, cites, who.name, record)  # type: ignore[arg-type]

    return _answer(request, who, of, after, form, edit, "report.add")


@router.post("/{sentence}")
def change(
    request: Request,
    of: Of,
    who: Writer,
    sentence: str,
    after: Number,
    text: Text = "",
    cites: Texts = [],  # noqa: B006
) -> Response:
    form = Open(kind="edit", sentence=sentence, text=text, cites=tuple(cites))
    return _answer(
        request,
        who,
        of,
        after,
        form,
        lambda report, record: edits.change(report, sentence, text, cites, who.name, record),
        "report.edit",
    )


@router.post("/{sentence}/strike")
def strike(request: Request, of: Of, who: Writer, sentence: str, after: Number, text: Text = "") -> Response:
    """`text`: why."""
    form = Open(kind="strike", sentence=sentence, text=text)
    return _answer(
        request, who, of, after, form, lambda report, _: edits.strike(report, sentence, text, who.name), "report.strike"
    )


@router.post("/{sentence}/restore")
def restore(request: Request, of: Of, who: Writer, sentence: str, after: Number) -> Response:
    form = Open(kind="strike", sentence=sentence)
    return _answer(request, who, of, after, form, lambda report, _: edits.restore(report, sentence), "report.restore")


def _answer(request: Request, who: Person, of: Key, after: int, form: Open, edit: Edit, note: str) -> Response:
    try:
        before, found = changed(request, who, of, after, "edited", edit, note, form.sentence)
    except LateError:
        found = reading.read(request, who, of)
        assert found.version is not None
        again = late(found.version.report, _in_section(form, found.version.report), found.version.author)
        said = (
            ""
            if again is not None
            else f"Not done: {found.version.author or 'the server'} changed the report meanwhile."
        )
        return refreshed(request, who, found, again, said, 409)
    except RefusedError as exc:
        if exc.status not in (400, 409):
            raise
        found = reading.read(request, who, of)
        if form.kind == "strike":
            return refreshed(request, who, found, None, str(exc), exc.status)
        return refreshed(request, who, found, replace(form, said=str(exc)), "", exc.status)
    assert found.version is not None
    told = {one.id for one in before.sentences}
    new = [one.id for one in found.version.report.sentences if one.id not in told]
    if not is_part(request):
        return RedirectResponse(f"{place(of)}#{(new or [form.sentence])[0]}", 303)
    return html(_parts(request, who, found, [*([form.sentence] if form.sentence else []), *new]))


def _in_section(form: Open, report: Report) -> Open:
    """With the section of its sentence, should it have to be added."""
    section = next((one.section for one in report.sentences if one.id == form.sentence), form.section)
    return replace(form, section=section)


def _parts(request: Request, who: Person, found: Found, sentences: list[str]) -> str:
    """The sentences that changed, and beside them what tells of them elsewhere on the page."""
    shown = reading.shown(request, who, found)
    csrf = who.session.csrf
    said = [one for one in map(shown.said, sentences) if one is not None]
    texts = [
        part("_report.html", "sentence", one, shown, csrf, number == len(said)) for number, one in enumerate(said, 1)
    ]
    touched = {cite for one in said for cite in one.cites}
    texts += [part("_facts.html", "cited", fact, True) for fact in shown.facts if fact.id in touched]
    texts.append(part("_report.html", "standing", shown, csrf, True))
    return "".join(texts)


def changed(
    request: Request, who: Person, of: Key, after: int, what: reports.What, edit: Edit, note: str, sentence: str = ""
) -> tuple[Report, Found]:
    """The report before, and all as it is now. Raises LateError, RefusedError."""
    with guard.database(request).write() as connection:
        found = reading.load(connection, of)
        if found.version is None:
            raise RefusedError("there is no draft yet", 409)
        if found.version.number != after:
            raise LateError
        before = found.version.report
        report = edit(before, found.record)
        if report is before:
            return before, found
        number = reports.append(connection, report, after=after, what=what, author=who.account)
        detail: dict[str, str | int] = {"revision": of.revision, "number": number}
        guard.note(
            connection, who, note, of.device, of.procedure, {**detail, **({"sentence": sentence} if sentence else {})}
        )
    version = replace(found.version, number=number, what=what, author=who.account, report=report)
    return before, found._replace(version=version)
