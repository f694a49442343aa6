"""What is learnt from: a signed report, the draft before it, and every name that may not leave with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edge.procedure import Record
from server.errors import ServerError
from server.patient import Patient
from server.report import Report


class LearnError(ServerError):
    """The export's folder, or what is in it, is not what was expected."""


@dataclass(frozen=True)
class Names:
    """Whoever and whatever a text might name, beside what case and patient say themselves."""

    people: tuple[str, ...] = ()  # full names and accounts of all who work with this server
    institution: str = ""
    more: tuple[str, ...] = ()  # a ward, a referring practice, a device's name in daily use


@dataclass(frozen=True)
class SignedCase:
    """`frames`: JPEGs by the sha256 of the record's key frames. `draft`: what the machine had last said of it."""

    record: Record
    draft: Report
    signed: Report
    frames: Mapping[str, bytes]
    patient: Patient | None = None
    names: Names = Names()

    def people(self) -> Iterator[str]:
        """Names of persons, in whatever order their parts come."""
        yield from self.names.people
        if self.patient is not None:
            yield from (self.patient.family, self.patient.given)
        for report in (self.draft, self.signed):
            for signature in report.signatures:
                yield from (signature.name, signature.account)
            for sentence in report.sentences:
                yield from (sentence.author, sentence.struck_by)

    def numbers(self) -> Iterator[str]:
        """By which patient, procedure or box are found elsewhere."""
        heading = self.record.heading
        yield from (heading.device, heading.boot, self.record.procedure)
        if self.patient is not None:
            yield from (self.patient.id, self.patient.issuer, self.patient.accession, self.patient.study)
            yield from (self.patient.birth_date, "".join(reversed(self.patient.birth_date.split("-"))))

    def places(self) -> Iterator[str]:
        yield from (self.names.institution, *self.names.more)
