"""What is exported fits together, or is refused with one sentence that says what does not."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from server.export.case import Case, ExportError
from server.patient import Patient
from server.report import Sentence
from tools.export_example import PATIENT

replace = msgspec.structs.replace


def changed(case: Case, **values: Any) -> Case:
    given = {name: getattr(case, name) for name in ("record", "report", "frames", "patient", "institution")}
    return Case(**(given | values))


def test_the_examples_are_taken(draft: Case, signed: Case) -> None:
    assert not draft.signed
    assert signed.signed


@pytest.mark.parametrize("key", ["device", "procedure", "revision"])
def test_a_report_of_another_record(draft: Case, key: str) -> None:
    other = replace(draft.report, **{key: 2 if key == "revision" else "other"})
    with pytest.raises(ExportError, match="expected one of example-box"):
        changed(draft, report=other)


def test_final_without_a_signature(signed: Case) -> None:
    with pytest.raises(ExportError, match="state final without a signature"):
        changed(signed, report=replace(signed.report, signatures=()))


def test_a_patient_in_a_draft(draft: Case) -> None:
    with pytest.raises(ExportError, match="a patient in a draft"):
        changed(draft, patient=PATIENT)


def test_a_record_of_another_version(draft: Case) -> None:
    with pytest.raises(ExportError, match="version 2, expected 1"):
        changed(draft, record=replace(draft.record, version=2))


def test_a_sentence_that_cites_what_is_not_there(draft: Case) -> None:
    wild = Sentence(id="S99", section="findings", text="And another.", cites=("F9", "F1"), by="model")
    with pytest.raises(ExportError, match="S99 cites F9, not in the record"):
        changed(draft, report=replace(draft.report, sentences=(*draft.report.sentences, wild)))


@pytest.mark.parametrize("text", ["a\x00b", "a\x1bb", "a\ud800"])
def test_what_no_document_can_hold(draft: Case, text: str) -> None:
    wild = replace(draft.report.sentences[0], text=text)
    with pytest.raises(ExportError, match="control character"):
        changed(draft, report=replace(draft.report, sentences=(wild,)))


def test_a_key_frame_is_missing(draft: Case) -> None:
    first, *others = draft.frames
    with pytest.raises(ExportError, match=f"{first} is missing"):
        changed(draft, frames={digest: draft.frames[digest] for digest in others})


def test_a_key_frame_is_another(draft: Case) -> None:
    first, second, *_ = draft.frames
    with pytest.raises(ExportError, match=f"{first}: its digest is {second}"):
        changed(draft, frames={**draft.frames, first: draft.frames[second]})


def test_a_key_frame_of_another_size(draft: Case) -> None:
    landmark = draft.record.landmarks[0]
    assert landmark.key_frame is not None
    wrong = replace(landmark, key_frame=replace(landmark.key_frame, width=10))
    with pytest.raises(ExportError, match="expected 10x"):
        changed(draft, record=replace(draft.record, landmarks=(wrong,)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", ""),
        ("family", "A^B"),
        ("given", "A\\B"),
        ("birth_date", "5.4.1961"),
        ("sex", "f"),
        ("accession", "1" * 17),
        ("study", "1.2.x"),
        ("family", "<\x1b>"),
    ],
)
def test_a_patient_whom_dicom_cannot_hold(key: str, value: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert(msgspec.to_builtins(PATIENT) | {key: value}, Patient)


def test_a_signed_report_speaks_of_what_it_cites(draft: Case, signed: Case) -> None:
    assert {"F1", "F2", "F3"} <= draft.taken()
    assert signed.taken() == {"T1", "J1", "L1", "F2", "F3"}
    assert [fact.id for fact, _ in signed.pictures()] == ["L1", "F2", "F3"]


def test_identities(draft: Case, signed: Case) -> None:
    """The same for the same; another patient, text or revision is another document."""
    assert dataclasses.replace(signed).digest == signed.digest
    assert draft.digest != signed.digest
    assert changed(signed, institution="Other").digest != signed.digest
    other = changed(signed, patient=replace(PATIENT, id="other"))
    assert other.study != signed.study != draft.study
    assert changed(signed, patient=replace(PATIENT, study="1.2.3")).study == "1.2.3"
    assert draft.uuid("report") == signed.uuid("report")
    assert len(draft.uid("report")) <= 64


def test_a_clock_that_cannot_be_believed(draft: Case) -> None:
    wrong = replace(draft.record, heading=replace(draft.record.heading, clock_trusted=False))
    assert draft.at(1.5) is not None
    assert changed(draft, record=wrong).at(1.5) is None
