"""A modality worklist, asked by C-FIND (PS3.4, K)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from server.config import Worklist
from server.export.send import Pacs, trusted
from server.patient import Patient
from server.worklist import Entry, WorklistError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pynetdicom.association import Association

log = logging.getLogger(__name__)
ANSWERS_MOST = 1000
_SEX = {"F": "female", "M": "male", "O": "other"}
_PENDING = (0xFF00, 0xFF01)
_ASKED = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyInstanceUID",
    "RequestedProcedureDescription",
)


def ask(config: Worklist, since: datetime, until: datetime) -> list[Entry]:
    """Raises WorklistError. What a worklist says without a patient that a report could have is left out."""
    assert config.dicom is not None
    with _association(config.dicom) as association:
        answers = list(_answers(config.dicom, association, _query(config, since, until)))
    entries = [_entry(answer, since) for answer in answers]
    if missing := entries.count(None):
        log.warning("%s: %s entries are of no patient that a report can have", _name(config.dicom), missing)
    return [entry for entry in entries if entry is not None]


@contextlib.contextmanager
def _association(pacs: Pacs) -> Iterator[Association]:
    from pynetdicom.ae import ApplicationEntity
    from pynetdicom.sop_class import ModalityWorklistInformationFind  # type: ignore[attr-defined]

    entity = ApplicationEntity(ae_title=pacs.calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = pacs.timeout_s
    entity.connection_timeout = pacs.timeout_s
    entity.add_requested_context(ModalityWorklistInformationFind)
    tls = (trusted(pacs.ca), pacs.host) if pacs.tls else None
    association = entity.associate(pacs.host, pacs.port, ae_title=pacs.called, tls_args=tls)
    try:
        if association.is_rejected:
            raise WorklistError(f"{_name(pacs)} refused us as {pacs.calling}")
        if not association.is_established:
            raise WorklistError(f"{_name(pacs)} does not answer, or has no worklist")
        yield association
    finally:
        if association.is_established:
            association.release()
        else:
            association.abort()


def _answers(pacs: Pacs, association: Association, query: Dataset) -> Iterator[Dataset]:
    from pynetdicom.sop_class import ModalityWorklistInformationFind  # type: ignore[attr-defined]

    count = 0
    for status, answer in association.send_c_find(query, ModalityWorklistInformationFind):
        if "Status" not in status:
            raise WorklistError(
                f"{_name(pacs)}, asked as {pacs.calling}, hung up, or was silent for {pacs.timeout_s:g} s"
            )
        if status.Status in _PENDING and answer is not None:
            count += 1
            if count > ANSWERS_MOST:
                raise WorklistError(f"{_name(pacs)}: more than {ANSWERS_MOST} entries: make worklist.hours smaller")
            yield answer
        elif status.Status != 0:
            comment = status.get("ErrorComment") or "no reason given"
            raise WorklistError(f"{_name(pacs)}: {int(status.Status):04X}H, {comment}")


def _query(config: Worklist, since: datetime, until: datetime) -> Dataset:
    from pydicom.dataset import Dataset

    step, query = Dataset(), Dataset()
    step.Modality = config.modality
    step.ScheduledStationAETitle = config.station
    step.ScheduledProcedureStepStartDate = f"{since:%Y%m%d}-{until:%Y%m%d}"
    step.ScheduledProcedureStepStartTime = ""
    step.ScheduledProcedureStepDescription = ""
    query.SpecificCharacterSet = "ISO_IR 192"
    for name in _ASKED:
        setattr(query, name, "")
    query.ScheduledProcedureStepSequence = [step]
    return query


def _entry(answer: Dataset, since: datetime) -> Entry | None:
    """Times are of the hospital's zone, which is that of `since`."""
    name = answer.get("PatientName")
    birth = str(answer.get("PatientBirthDate") or "")
    said = {
        "id": _text(answer, "PatientID"),
        "issuer": _text(answer, "IssuerOfPatientID"),
        "family": str(getattr(name, "family_name", "")).strip(),
        "given": str(getattr(name, "given_name", "")).strip(),
        "birth_date": f"{birth[:4]}-{birth[4:6]}-{birth[6:]}" if len(birth) == 8 and birth.isdigit() else "",
        "sex": _SEX.get(_text(answer, "PatientSex"), "unknown"),
        "accession": _text(answer, "AccessionNumber"),
        "study": _text(answer, "StudyInstanceUID"),
    }
    try:
        patient = msgspec.convert(said, Patient)
    except msgspec.ValidationError:  # says what is wrong in the patient's own words
        return None
    steps: Any = answer.get("ScheduledProcedureStepSequence") or []
    step = steps[0] if len(steps) else None
    planned = _text(step, "ScheduledProcedureStepDescription") if step is not None else ""
    return Entry(
        patient=patient,
        scheduled=_when(step, since) if step is not None else None,
        procedure=_text(answer, "RequestedProcedureDescription") or planned,
    )


def _text(of: Dataset, name: str) -> str:
    return str(of.get(name) or "").strip()


def _when(step: Dataset, since: datetime) -> datetime | None:
    date, time = _text(step, "ScheduledProcedureStepStartDate"), _text(step, "ScheduledProcedureStepStartTime")
    time = f"{time.partition('.')[0]:0<6}"[:6]
    try:
        naive = datetime.strptime(f"{date}{time}", "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return naive.replace(tzinfo=since.tzinfo)


def _name(pacs: Pacs) -> str:
    return f"worklist {pacs.called} at {pacs.host}:{pacs.port}"
