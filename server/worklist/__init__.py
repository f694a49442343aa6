"""Whom the hospital has planned: patients to choose from when a report is signed. From a modality worklist (DICOM) or
a folder of JSON files that another system fills. Nothing of it is kept: who is chosen is joined, and nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from edge.types import Struct
from server.config import Worklist
from server.errors import ServerError
from server.patient import Patient


class WorklistError(ServerError):
    """It cannot be asked. The patient is typed in by hand instead."""


class Entry(Struct, frozen=True, kw_only=True):
    patient: Patient
    scheduled: datetime | None = None  # with its zone
    procedure: str = ""  # as the hospital calls it


def find(config: Worklist, near: datetime, text: str = "") -> list[Entry]:
    """Those planned around `near` (with its zone), the nearest first. `text`: words, each in the patient's name or
    number, the accession number or the procedure's name. Raises WorklistError."""
    from server.worklist import dicom, folder

    zone = ZoneInfo(config.zone) if config.zone else None
    near = near.astimezone(zone)
    around = timedelta(hours=config.hours)
    entries = dicom.ask(config, near - around, near + around) if config.dicom else folder.read(config.folder)
    return _fit(entries, near, around, text)[: config.most]


def _fit(entries: Iterable[Entry], near: datetime, around: timedelta, text: str) -> list[Entry]:
    """An entry without a time is one of today's, and comes last."""
    words = text.casefold().split()
    found = [
        (abs(entry.scheduled - near) if entry.scheduled is not None else around, entry)
        for entry in entries
        if all(word in _said(entry) for word in words)
    ]
    return [entry for off, entry in sorted(found, key=lambda one: (one[0], one[1].patient.name)) if off <= around]


def _said(entry: Entry) -> str:
    patient = entry.patient
    parts = (patient.family, patient.given, patient.id, patient.accession, entry.procedure)
    return " ".join(parts).casefold()
