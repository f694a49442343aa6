"""The instances, as others read them: pydicom, Pillow, and dciodvfy (Debian's dicom3tools) against the standard."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("highdicom", reason="the server extra is not installed")

import pydicom
from pydicom.encaps import generate_frames

from server.export import dicom
from server.export.case import Case, ExportError
from server.report import Signature

replace = msgspec.structs.replace
PDF = b"%PDF-1.7 of a test"  # an even number of bytes
ALLOWED = (
    "Unrecognized defined term = <99ENDOEDGE>",  # a private scheme, as PS3.16 8.2 has it
    "value that would be needed to build DICOMDIR",  # a date, where the box had none
)


def made(case: Case, pdf: bytes = PDF) -> list[Any]:
    """Written and read again."""
    return [pydicom.dcmread(io.BytesIO(dicom.written(one))) for one in dicom.instances(case, pdf)]


def of(instances: list[Any], modality: str) -> list[Any]:
    return [one for one in instances if one.Modality == modality]


def walk(item: Any) -> list[Any]:
    return [item, *(deeper for child in item.get("ContentSequence", []) for deeper in walk(child))]


@pytest.mark.parametrize("state", ["draft", "signed", "undated", "nothing"])
def test_as_the_standard_asks(state: str, draft: Case, signed: Case, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("not installed: dicom3tools")
    record = draft.record
    undated = replace(record, heading=replace(record.heading, clock_trusted=False))
    nothing = replace(record, landmarks=(), findings=(), judgements=())
    case = {
        "draft": draft,
        "signed": signed,
        "undated": Case(undated, draft.report, draft.frames),
        "nothing": Case(nothing, replace(draft.report, sentences=()), {}),
    }[state]
    for instance in dicom.instances(case, PDF):
        (tmp_path / "one.dcm").write_bytes(dicom.written(instance))
        done = subprocess.run(["dciodvfy", "-new", tmp_path / "one.dcm"], capture_output=True, text=True, check=False)
        said = [line for line in done.stderr.splitlines() if not line.endswith(ALLOWED)]
        assert [line for line in said if line.startswith(("Error", "Warning"))] == []
        assert done.returncode == 0


def test_key_frames_are_not_encoded_again(signed: Case) -> None:
    pictures = of(made(signed), "ES")
    assert len(pictures) == len(signed.pictures())
    for instance, (_, frame) in zip(pictures, signed.pictures(), strict=True):
        (jpeg,) = generate_frames(instance.PixelData, number_of_frames=1)
        content = signed.frames[frame.sha256]
        assert jpeg[: len(content)] == content
        assert len(jpeg) - len(content) <= 1
        assert (instance.Columns, instance.Rows) == (frame.width, frame.height)
        assert instance.PhotometricInterpretation == "YBR_FULL_422"
        rgb = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int16)
        assert np.abs(instance.pixel_array.astype(np.int16) - rgb).max() <= 2
        assert instance.BurnedInAnnotation == "NO"


def test_a_picture_that_the_syntax_cannot_hold(draft: Case) -> None:
    import hashlib

    file = io.BytesIO()
    Image.new("RGB", (32, 16)).save(file, "JPEG", progressive=True)
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    landmark = draft.record.landmarks[0]
    assert landmark.key_frame is not None
    frame = replace(landmark.key_frame, sha256=digest, width=32, height=16)
    record = replace(draft.record, landmarks=(replace(landmark, key_frame=frame),))
    case = Case(record, draft.report, {**draft.frames, digest: file.getvalue()})
    with pytest.raises(ExportError, match="expected a baseline JPEG"):
        dicom.instances(case, PDF)


def test_verified_only_when_signed(draft: Case, signed: Case) -> None:
    (before,), (after,) = of(made(draft), "SR"), of(made(signed), "SR")
    assert (before.VerificationFlag, before.CompletionFlag, before.PreliminaryFlag) == (
        "UNVERIFIED",
        "PARTIAL",
        "PRELIMINARY",
    )
    assert "VerifyingObserverSequence" not in before
    assert (after.VerificationFlag, after.CompletionFlag, after.PreliminaryFlag) == ("VERIFIED", "COMPLETE", "FINAL")
    (observer,) = after.VerifyingObserverSequence
    assert observer.VerifyingObserverName == "Dr. Eva Test^"
    assert observer.VerifyingOrganization == "Example Hospital"
    assert observer.VerificationDateTime == "20260302100511+0000"
    assert of(made(signed), "DOC")[0].VerificationFlag == "VERIFIED"


def test_all_who_signed(signed: Case) -> None:
    second = Signature(account="mtest", name="Max =^Test", at="2026-03-02T11:00:00+01:00")
    case = Case(signed.record, replace(signed.report, signatures=(*signed.report.signatures, second)), signed.frames)
    (report,) = of(made(case), "SR")
    assert [str(one.VerifyingObserverName) for one in report.VerifyingObserverSequence] == [
        "Dr. Eva Test^",
        "Max   Test^",
    ]
    assert report.VerifyingObserverSequence[1].VerificationDateTime == "20260302100000+0000"


def test_what_the_report_says_and_what_it_stands_on(signed: Case) -> None:
    instances = made(signed)
    (report,) = of(instances, "SR")
    items = walk(report)
    said = [item.TextValue for item in items if item.get("ValueType") == "TEXT"]
    assert all(sentence.text in said for sentence in signed.report.standing())
    assert not [text for text in said if "1 min 46 s to" in text]
    assert [str(item.PersonName) for item in items if item.get("ValueType") == "PNAME"] == ["E. Test^", "E. Test^"]
    pointed = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items if "ReferencedSOPSequence" in item
    }
    assert pointed == {one.SOPInstanceUID for one in instances if one.Modality != "SR"}
    regions = [item.GraphicData for item in items if item.get("ValueType") == "SCOORD"]
    boxes = [frame.box for _, frame in signed.pictures() if frame.box is not None]
    assert [(region[0], region[1], region[4], region[5]) for region in regions] == boxes


@pytest.mark.parametrize("extra", [b"", b"!"])
def test_the_document_comes_back(signed: Case, extra: bytes) -> None:
    (document,) = of(made(signed, PDF + extra), "DOC")
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength] == PDF + extra
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"


def test_one_study_of_one_patient(draft: Case, signed: Case) -> None:
    for case, name in ((draft, "NOT JOINED^"), (signed, "Example^Erika")):
        instances = made(case)
        for key in (
            "StudyInstanceUID",
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
        ):
            assert len({str(one.get(key)) for one in instances}) == 1, key
        assert instances[0].PatientName == name
        assert len({one.SOPInstanceUID for one in instances}) == len(instances)
        assert all(len(one.SOPInstanceUID) <= 64 and one.SOPInstanceUID.is_valid for one in instances)
    assert "Example" not in str(made(draft)[0].PatientName)


def test_one_uid_one_content(draft: Case, signed: Case) -> None:
    """A PACS keeps what came first: whatever shares a UID has to be the same to the byte."""
    unnamed = Case(signed.record, signed.report, signed.frames, institution=signed.institution)
    twice = replace(signed.report, signatures=signed.report.signatures * 2)
    renamed = Case(signed.record, twice, signed.frames, signed.patient, signed.institution)
    kept: dict[str, bytes] = {}
    for case in (draft, unnamed, signed, renamed):
        for one in dicom.instances(case, PDF):
            assert kept.setdefault(one.SOPInstanceUID, dicom.written(one)) == dicom.written(one)
    pictures = {one.SOPInstanceUID for one in made(draft) if one.Modality == "ES"}
    assert {one.SOPInstanceUID for one in made(unnamed) if one.Modality == "ES"} < pictures


def test_one_key_frame_of_two_facts(draft: Case) -> None:
    shared = draft.record.landmarks[0].key_frame
    findings = tuple(replace(one, key_frame=shared) for one in draft.record.findings)
    instances = made(Case(replace(draft.record, findings=findings), draft.report, draft.frames))
    assert len({one.SOPInstanceUID for one in instances}) == len(instances) == 6


def test_the_same_twice_and_another_when_signed(draft: Case, signed: Case) -> None:
    once, again = ([dicom.written(one) for one in dicom.instances(signed, PDF)] for _ in range(2))
    assert once == again
    assert not {one.SOPInstanceUID for one in made(draft)} & {one.SOPInstanceUID for one in made(signed)}
