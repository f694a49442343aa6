"""Questions about a procedure, answered from its record (`server.words.ask`) and kept with it."""

from __future__ import annotations

import functools
import threading
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from server import guard
from server.config import Config
from server.errors import RefusedError
from server.guard import Person
from server.keep import Keep
from server.reports import Key
from server.web import questions, reading
from server.web.pages import is_part, part, place
from server.web.reading import Found
from server.web.routes_review import Of, Writer, html, page
from server.words import ask, checklist
from server.words.endpoint import Endpoint
from server.words.errors import WordsError

router = APIRouter(prefix="/procedures/{device}/{procedure}/{revision}")
BUSY = "the language model answers others just now: ask again in a minute"


@router.post("/questions")
def question(request: Request, of: Of, who: Writer, question: Annotated[str, Form()] = "") -> Response:
    found, said, status = reading.read(request, who, of), "", 200
    try:
        guard.limits(request).ask.take(who.account)
        _ask(request, who, of, found, question)
    except RefusedError as exc:
        said, status = str(exc), exc.status
    if not is_part(request):
        if not said:
            return RedirectResponse(f"{place(of)}#questions", 303)
        return page(request, who, found, typed=question, not_answered=said, status=status)
    with guard.database(request).read() as connection:
        asked = questions.asked(connection, of)
    shown = reading.shown(request, who, found)
    typed = question if said else ""
    return html(part("_ask.html", "questions", shown, asked, who.session.csrf, typed, said))


def _ask(request: Request, who: Person, of: Key, found: Found, question: str) -> None:
    """Raises RefusedError."""
    config: Config = request.app.state.config
    keep: Keep = request.app.state.keep
    if found.version is None:
        raise RefusedError("there is no draft yet", 409)
    report, endpoint = found.version.report, Endpoint(config.draft) if config.draft.url else None
    turn: threading.Semaphore = request.app.state.turns
    if endpoint is not None and not turn.acquire(blocking=False):
        raise RefusedError(BUSY, 503)
    try:
        answer = ask.answer(found.record, report, question, report.language, endpoint, _lists(), keep.get)
    except WordsError as exc:
        raise RefusedError(str(exc)) from exc
    finally:
        if endpoint is not None:
            turn.release()
    with guard.database(request).write() as connection:
        kept = questions.keep(connection, of, who.account, " ".join(question.split()), answer)
        detail: dict[str, str | int] = {"revision": of.revision, "question": kept.id, "by": answer.by}
        guard.note(connection, who, "question.ask", of.device, of.procedure, detail)


@functools.cache
def _lists() -> checklist.Lists:
    return checklist.load()
