"""Signed cases of the software colon: nobody's pictures, nobody's name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from edge.procedure import Record
from server import edits
from server.learn.case import Names, SignedCase
from server.learn.vocabulary import Vocabulary, load
from server.report import Report, Section, Signature
from tools import export_example

Make = Callable[..., SignedCase]
SIGNATURE = Signature(account="etest", name="Dr. Eva Test", at="2026-03-02T10:05:11Z")


@pytest.fixture(scope="session")
def example() -> tuple[Record, dict[str, bytes]]:
    return export_example.example()


@pytest.fixture(scope="session")
def english() -> Vocabulary:
    found = load("en")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def german() -> Vocabulary:
    found = load("de")
    assert found is not None
    return found


@pytest.fixture
def make(example: tuple[Record, dict[str, bytes]]) -> Make:
    """A case whose draft a person has changed: `changed` S-number → text, `struck` S-numbers, `added` texts."""
    record, frames = example

    def made(
        changed: dict[str, str] | None = None,
        struck: tuple[str, ...] = (),
        added: tuple[tuple[Section, str, tuple[str, ...]], ...] = (),
        language: str = "en",
        number: str = record.procedure,
        patient: str = export_example.PATIENT.id,
    ) -> SignedCase:
        numbered = replace(record, procedure=number)
        draft: Report = replace(export_example.draft(), language=language, procedure=number)
        signed = draft
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
