"""Signing: whose procedure it is, who says so, and that it is them. An addendum after it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Annotated, Any, get_args

import msgspec
from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from server import deliveries, edits, guard, patients, reports, signin
from server.clock import now
from server.config import Config
from server.errors import RefusedError
from server.guard import Person
from server.patient import Patient
from server.report import Section, Signature
from server.reports import Key
from server.web import reading
from server.web.dialog import dialog
from server.web.pages import is_part, place
from server.web.reading import Found
from server.web.routes_edit import LateError, Number, Text, Texts
from server.web.routes_review import Of, Writer

router = APIRouter(prefix="/procedures/{device}/{procedure}/{revision}")
FIELDS = ("family", "given", "birth_date", "sex", "id", "issuer", "accession", "study")
SEXES = ("unknown", "female", "male", "other")
LABELS = {
    "family": "Family name",
    "given": "Given name",
    "birth_date": "Birth date",
    "sex": "Sex",
    "id": "Patient's number",
    "issuer": "Who gave that number",
    "accession": "Accession number",
    "study": "Study UID",
}
Field = Annotated[str, Form(max_length=200)]


def typed_fields(
    family: Field = "",
    given: Field = "",
    birth_date: Field = "",
    sex: Field = "unknown",
    id: Field = "",
    issuer: Field = "",
    accession: Field = "",
    study: Field = "",
) -> dict[str, str]:
    """Of a patient, as a form has them."""
    told = (family, given, birth_date, sex, id, issuer, accession, study)
    return {name: text.strip() for name, text in zip(FIELDS, told, strict=True)}


Typed = Annotated[dict[str, str], Depends(typed_fields)]


@router.get("/sign")
def sign_form(request: Request, of: Of, who: Writer, by_hand: bool = False) -> Response:
    """With whom was joined before, unless the patient is to be typed in anew."""
    found = reading.read(request, who, of)
    known = _fields(found.patient) if found.patient is not None and not by_hand else {}
    return sign_form_of(request, who, found, known, "", chosen=bool(known))


@router.post("/sign")
def sign(
    request: Request, of: Of, who: Writer, after: Number, typed: Typed, password: Field = "", chosen: Field = ""
) -> Response:
    try:
        signin.require_proof(request, who, password)
        _sign(request, who, of, after, typed)
    except RefusedError as exc:
        if exc.status not in (400, 401, 409):
            raise
        found = reading.read(request, who, of)
        return sign_form_of(request, who, found, typed, str(exc), chosen=bool(chosen), status=exc.status)
    return done(request, of)


def _sign(request: Request, who: Person, of: Key, after: int, typed: Mapping[str, str]) -> None:
    config: Config = request.app.state.config
    with guard.database(request).write() as connection:
        found = reading.load(connection, of)
        if found.version is None:
            raise RefusedError("there is no draft yet", 409)
        if found.version.number != after:
            raise LateError
        patient = _patient(found, typed)
        signed = edits.sign(found.version.report, _signature(who), config.sign.signatures)
        if patient != found.patient:
            patients.join(connection, of.device, of.procedure, patient, who.account)
        number = reports.append(connection, signed, after=after, what="signed", author=who.account)
        deliveries.owe(connection, config, of, number, signed)
        detail = {"revision": of.revision, "number": number, "state": signed.state}
        guard.note(connection, who, "report.sign", of.device, of.procedure, detail)


def _patient(found: Found, typed: Mapping[str, str]) -> Patient:
    """Who was joined before stays, unless somebody is typed in."""
    if found.patient is not None and not any(typed[name] for name in FIELDS if name != "sex"):
        return found.patient
    return patient_of(typed)


def patient_of(typed: Mapping[str, str]) -> Patient:
    """Raises RefusedError."""
    for name, words in (("family", "the family name"), ("id", "the patient's number")):
        if not typed[name]:
            raise RefusedError(f"expected {words}: a report is signed for somebody")
    try:
        if typed["birth_date"]:
            datetime.date.fromisoformat(typed["birth_date"])
    except ValueError as exc:
        raise RefusedError(f"Birth date {typed['birth_date']!r}: expected one like 1961-04-30") from exc
    try:
        return msgspec.convert(dict(typed), Patient)
    except msgspec.ValidationError as exc:
        text, _, at = str(exc).partition(" - at `$.")
        raise RefusedError(f"{LABELS.get(at.rstrip('`'), 'patient')}: {text}") from exc


def _signature(who: Person) -> Signature:
    return Signature(account=who.account, name=who.name, at=now())


def _fields(patient: Patient) -> dict[str, str]:
    return {name: getattr(patient, name) for name in FIELDS}


def sign_form_of(
    request: Request,
    who: Person,
    found: Found,
    typed: Mapping[str, str],
    said: str,
    *,
    chosen: bool = False,
    status: int = 200,
) -> Response:
    """`chosen`: the patient is not typed but taken as it is, so that nobody changes half of it. Raises RefusedError."""
    shown = reading.shown(request, who, found)
    if shown.state != "draft":
        raise RefusedError("there is nothing to sign: no draft yet, or signed already", 409)
    config: Config = request.app.state.config
    values: dict[str, Any] = {
        "typed": {**dict.fromkeys(FIELDS, ""), "sex": "unknown", **typed},
        "chosen": chosen,
        "worklist": config.worklist is not None,
        "fields": FIELDS,
        "labels": LABELS,
        "sexes": SEXES,
        "said": said,
    }
    return dialog(request, "sign", who, shown, values, status)


# ------------------------------------------------------------------------------------------------ addendum


@router.get("/addendum")
def addendum_form(request: Request, of: Of, who: Writer) -> Response:
    return _addendum(request, who, reading.read(request, who, of), "summary", "", (), "")


@router.post("/addendum")
def addendum(
    request: Request,
    of: Of,
    who: Writer,
    after: Number,
    section: Text = "summary",
    text: Text = "",
    cites: Texts = [],  # noqa: B006
    password: Field = "",
) -> Response:
    try:
        if section not in get_args(Section):
            raise RefusedError(f"section {section[:40]!r}: expected one of {', '.join(get_args(Section))}")
        signin.require_proof(request, who, password)
        _amend(request, who, of, after, section, text, tuple(cites))  # type: ignore[arg-type]
    except RefusedError as exc:
        if exc.status not in (400, 401, 409):
            raise
        found = reading.read(request, who, of)
        return _addendum(request, who, found, section, text, tuple(cites), str(exc), exc.status)
    return done(request, of)


def _amend(
    request: Request, who: Person, of: Key, after: int, section: Section, text: str, cites: tuple[str, ...]
) -> None:
    with guard.database(request).write() as connection:
        found = reading.load(connection, of)
        if found.version is None:
            raise RefusedError("there is no report yet", 409)
        if found.version.number != after:
            raise LateError
        report = edits.amend(found.version.report, [(section, text, cites)], _signature(who), found.record)
        number = reports.append(connection, report, after=after, what="amended", author=who.account)
        deliveries.owe(connection, request.app.state.config, of, number, report)
        guard.note(
            connection, who, "report.amend", of.device, of.procedure, {"revision": of.revision, "number": number}
        )


def _addendum(
    request: Request,
    who: Person,
    found: Found,
    section: str,
    text: str,
    cites: tuple[str, ...],
    said: str,
    status: int = 200,
) -> Response:
    shown = reading.shown(request, who, found)
    if shown.state in ("", "draft"):
        raise RefusedError("this report is not signed yet: change it instead of adding to it", 409)
    values: dict[str, Any] = {
        "section": section,
        "text": text,
        "cites": cites,
        "said": said,
    }
    return dialog(request, "addendum", who, shown, values, status)


def done(request: Request, of: Key) -> Response:
    """The whole page again: another state, other things to do."""
    if is_part(request):
        return Response(status_code=204, headers={"HX-Redirect": place(of)})
    return RedirectResponse(place(of), 303)
