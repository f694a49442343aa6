"""What is exported: a record, its report, its key frames, and whose they are. Checked once, here."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID, uuid5

import msgspec

from edge.errors import EdgeError
from edge.procedure import VERSION, Finding, KeyFrame, Landmark, Record
from server.export import jpeg
from server.patient import Patient
from server.report import Report, Sentence

_NAMESPACE = UUID("3d0f24d9-7b53-5c3a-9d0c-0b7f1d5a6c11")  # of every identifier below; never to be changed
_DECENT = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]*")  # XML and FHIR take no others
Fact = Landmark | Finding
State = Literal["draft", "final", "amended", "corrected"]


class ExportError(EdgeError):
    """Record, report, key frames and patient do not fit together, or cannot be written in the form asked for."""


@dataclass(frozen=True)
class Case:
    """Raises ExportError for a report of another record, a final one without a signature, a sentence that cites what
    the record lacks, a patient in a draft, and a key frame that is missing or another one."""

    record: Record
    report: Report
    frames: Mapping[str, bytes]  # JPEGs by sha256
    patient: Patient | None = None
    institution: str = ""
    corrected: bool = False  # signed for another patient first; no words changed
    digest: str = field(init=False)
    """sha256 of all that a reader can see. Another text, signature or patient is another document."""

    def __post_init__(self) -> None:
        for refused in self._refused():
            raise ExportError(refused)
        seen = [self.record, self.report, self.patient, self.institution, *(["corrected"] if self.corrected else [])]
        object.__setattr__(self, "digest", hashlib.sha256(msgspec.json.encode(seen, order="sorted")).hexdigest())

    def _refused(self) -> Iterator[str]:
        record, report = self.record, self.report
        if record.version != VERSION:
            yield f"record of {record.procedure}: version {record.version}, expected {VERSION}"
        ours = (record.heading.device, record.procedure, record.revision)
        if (report.device, report.procedure, report.revision) != ours:
            yield (
                f"report of {report.device} {report.procedure} revision {report.revision}, "
                f"expected one of {ours[0]} {ours[1]} revision {ours[2]}"
            )
        if self.signed and not report.signatures:
            yield f"report of {record.procedure}: state {report.state} without a signature"
        if self.patient is not None and not self.signed:
            yield f"report of {record.procedure}: a patient in a draft; the patient is joined when it is signed"
        for sentence in report.sentences:
            if unknown := sorted(set(sentence.cites) - record.ids()):
                yield f"report of {record.procedure}: {sentence.id} cites {', '.join(unknown)}, not in the record"
        if wild := next((text for text in _texts(record, report) if not _DECENT.fullmatch(text)), None):
            yield f"report of {record.procedure}: {wild!r} holds a control character"
        for frame in record.key_frames():
            content = self.frames.get(frame.sha256)
            if content is None:
                yield f"record of {record.procedure}: key frame {frame.sha256} is missing"
            elif wrong := _wrong(frame, content):
                yield f"record of {record.procedure}: key frame {frame.sha256}: {wrong}"

    # ---------------------------------------------------------------------------------------- what is in it

    @property
    def signed(self) -> bool:
        return self.report.state != "draft"

    @property
    def state(self) -> State:
        """As readers are told."""
        return "corrected" if self.corrected and self.signed else self.report.state

    def taken(self) -> set[str]:
        """Ids of the facts that the report speaks of. In a draft all of them: nobody has judged yet."""
        if not self.signed:
            return self.record.ids()
        return {self.record.times.id, *(cited for sentence in self.report.standing() for cited in sentence.cites)}

    def pictures(self) -> list[tuple[Fact, KeyFrame]]:
        """Key frames of the facts that it speaks of, landmarks' first."""
        facts: list[Fact] = [*self.record.landmarks, *self.record.findings]
        return [(fact, fact.key_frame) for fact in facts if fact.key_frame is not None and fact.id in self.taken()]

    def about(self, fact: str) -> list[Sentence]:
        """Standing sentences that cite it."""
        return [sentence for sentence in self.report.standing() if fact in sentence.cites]

    # -------------------------------------------------------------------------------------------- when, which

    def at(self, seconds: float = 0.0) -> datetime.datetime | None:
        """UTC, so long after the procedure's start. None: the box's clock could not be believed."""
        if not self.record.heading.clock_trusted:
            return None
        return moment(self.record.heading.started_at) + datetime.timedelta(seconds=seconds)

    @property
    def dated(self) -> datetime.datetime:
        """When the report became what it is: signed, or (a draft) when the procedure started."""
        if self.report.signatures:
            return max(moment(signature.at) for signature in self.report.signatures)
        return moment(self.record.heading.started_at)

    def uuid(self, *part: str) -> UUID:
        """The same one for the same part of the same procedure and revision, for ever."""
        return uuid_of(self.record, *part)

    def uid(self, *part: str) -> str:
        """The same as a DICOM UID (PS3.5, B.2)."""
        return uid_of(self.record, *part)

    @property
    def study(self) -> str:
        return study_of(self.record, self.patient)

    @property
    def device(self) -> UUID:
        """The box as it was: with another model it is another device."""
        made = self.record.heading.made_by
        return uuid5(
            _NAMESPACE, "/".join((self.record.heading.device, made.software, made.model_sha256, made.pipeline_sha256))
        )

    @property
    def device_uid(self) -> str:
        return f"2.25.{self.device.int}"

    def picture_uid(self, fact: Fact, frame: KeyFrame) -> str:
        """Of the DICOM instance that shows a fact: whatever is written around it, a picture is sent once a study."""
        return self.uid("picture", fact.id, frame.sha256, self.study)


def uuid_of(record: Record, *part: str) -> UUID:
    """`Case.uuid`, where only the record is at hand."""
    names = [record.heading.device, record.procedure, str(record.revision), *part]
    return uuid5(_NAMESPACE, "/".join(names))


def uid_of(record: Record, *part: str) -> str:
    return f"2.25.{uuid_of(record, *part).int}"


def study_of(record: Record, patient: Patient | None) -> str:
    """The worklist's study, or our own: then one a patient, for a study cannot be of two."""
    if patient is None:
        return uid_of(record, "study")
    return patient.study or uid_of(record, "study", patient.issuer, patient.id)


def _texts(*values: object) -> Iterator[str]:
    """Every string in them."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _texts(*value, *value.values())
        elif isinstance(value, (list, tuple)):
            yield from _texts(*value)
        elif isinstance(value, msgspec.Struct):
            yield from _texts(msgspec.to_builtins(value))


def _wrong(frame: KeyFrame, content: bytes) -> str:
    """What differs from what the record says of it; "" nothing."""
    if (found := hashlib.sha256(content).hexdigest()) != frame.sha256:
        return f"its digest is {found}"
    try:
        picture = jpeg.read(content)
    except ValueError as exc:
        return str(exc)
    if (picture.width, picture.height) != (frame.width, frame.height):
        return f"{picture.width}x{picture.height}, expected {frame.width}x{frame.height}"
    return ""


def implementation() -> str:
    """Of the software that writes our DICOM files."""
    return oid("implementation").removeprefix("urn:oid:")


def oid(name: str) -> str:
    """A name space of our own for identifiers that nobody has registered, as a URI."""
    return f"urn:oid:2.25.{uuid5(_NAMESPACE, name).int}"


def moment(text: str) -> datetime.datetime:
    """RFC 3339 → UTC. Raises ExportError."""
    try:
        return msgspec.convert(text, datetime.datetime, strict=False).astimezone(datetime.timezone.utc)
    except msgspec.ValidationError as exc:
        raise ExportError(f"{text!r}: expected a time like 2026-01-31T10:00:00Z") from exc
