"""Correcting whose procedure it is, after a report was signed for somebody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from server import guard, patients, signin
from server.audit import Detail
from server.config import Config
from server.errors import RefusedError
from server.guard import Person
from server.reports import Key
from server.web import reading
from server.web.dialog import dialog
from server.web.routes_edit import LateError, Number
from server.web.routes_review import Of, Writer
from server.web.routes_sign import FIELDS, LABELS, SEXES, Field, Typed, done, patient_of

router = APIRouter(prefix="/procedures/{device}/{procedure}/{revision}")
WHY = {
    "mistyped": "it was typed wrong",
    "mistaken": "another patient was meant",
    "renamed": "the hospital has renamed or merged the record",
}


@router.get("/patient")
def patient_form(request: Request, of: Of, who: Writer) -> Response:
    return _form(request, who, of, None, "", "")


@router.post("/patient")
def correct(
    request: Request, of: Of, who: Writer, after: Number, typed: Typed, reason: Field = "", password: Field = ""
) -> Response:
    try:
        signin.require_proof(request, who, password)
        _correct(request, who, of, after, typed, reason)
    except RefusedError as exc:
        if exc.status not in (400, 401, 409):
            raise
        return _form(request, who, of, typed, reason, str(exc), exc.status)
    return done(request, of)


def _correct(request: Request, who: Person, of: Key, after: int, typed: Mapping[str, str], reason: str) -> None:
    config: Config = request.app.state.config
    with guard.database(request).write() as connection:
        found = reading.load(connection, of)
        if found.version is None or found.version.number != after:
            raise LateError
        patient = patient_of(typed)
        changed = patients.correct(connection, config, of.device, of.procedure, patient, reason, who.account)
        detail: Detail = {"revisions": [str(key.revision) for key in changed], "reason": reason}
        guard.note(connection, who, "patient.correct", of.device, of.procedure, detail)


def _form(
    request: Request,
    who: Person,
    of: Key,
    typed: Mapping[str, str] | None,
    reason: str,
    said: str,
    status: int = 200,
) -> Response:
    """`typed` None: as the patient is now."""
    found = reading.read(request, who, of)
    shown = reading.shown(request, who, found)
    if shown.state in ("", "draft") or found.patient is None:
        raise RefusedError("this report is not signed yet: the patient is joined when it is signed", 409)
    values: dict[str, Any] = {
        "typed": {name: getattr(found.patient, name) for name in FIELDS} if typed is None else typed,
        "labels": LABELS,
        "sexes": SEXES,
        "why": WHY,
        "reason": reason,
        "said": said,
    }
    return dialog(request, "patient", who, shown, values, status)
