"""Signed cases of the software colon: nobody's pictures, nobody's name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from edge.procedure import Record
from server import edits
from server.learn.case import Names, SignedCase
from server.report import Report, Section, Signature
from server.words import checklist, template
from server.words.checklist import Lists
from tools import export_example

Make = Callable[..., SignedCase]
SIGNATURE = Signature(account="etest", name="Dr. Eva Test", at="2026-03-02T10:05:11Z")


@pytest.fixture(scope="session")
def example() -> tuple[Record, dict[str, bytes]]:
    return export_example.example()


@pytest.fixture(scope="session")
def lists() -> Lists:
    return checklist.load()


@pytest.fixture
def make(example: tuple[Record, dict[str, bytes]], lists: Lists) -> Make:
    """A case whose draft a person has changed: `changed` S-number → text, `struck` S-numbers, `added` texts."""
    record, frames = example

    def made(
        changed: dict[str, str] | None = None,
        struck: tuple[str, ...] = (),
        added: tuple[tuple[Section, str, tuple[str, ...]], ...] = (),
        language: str = "en",
        number: str = record.procedure,
        patient: str = export_example.PATIENT.id,
        seconds: float = record.times.duration_s,
    ) -> SignedCase:
        numbered = replace(record, procedure=number, times=replace(record.times, duration_s=seconds))
        draft = template.draft(numbered, language, lists)
        signed: Report = draft
        for sentence, text in (changed or {}).items():
            signed = edits.change(signed, sentence, text, None, "E. Test", numbered)
        for sentence in struck:
            signed = edits.strike(signed, sentence, "a fold, no polyp", "E. Test")
        for section, text, cites in added:
            signed = edits.add(signed, section, text, cites, "E. Test", numbered)
        signed = edits.sign(signed, SIGNATURE, 1)
        names = Names(
            people=("Maximilian Oberhuber", "moberhuber"), institution="Example Hospital", more=("Ward Seven",)
        )
        return SignedCase(numbered, draft, signed, frames, replace(export_example.PATIENT, id=patient), names)

    return made
