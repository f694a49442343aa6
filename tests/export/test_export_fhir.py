"""The bundle, against HL7's definitions (`tests/support/fhir.py`), and against what a signature means."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import msgspec
import pytest

from edge.procedure import Interruption
from server.export import fhir
from server.export.case import Case
from tests.support.fhir import problems
from tools.export_example import PATIENT

replace = msgspec.structs.replace
PDF = b"%PDF-1.7 of a test"


def of(case: Case, **values: Any) -> Case:
    given = {
        name: getattr(case, name) for name in ("record", "report", "frames", "patient", "institution", "corrected")
    }
    return Case(**(given | values))


def variants(draft: Case, signed: Case) -> dict[str, Case]:
    record, report = draft.record, draft.report
    undated = replace(record.heading, clock_trusted=False)
    unknown = replace(undated, made_by=replace(undated.made_by, pipeline="bronchoscopy"))
    gap = Interruption(id="I1", state="no_signal", from_s=3.0, to_s=4.5)
    return {
        "draft": draft,
        "signed": signed,
        "amended": of(signed, report=replace(signed.report, state="amended")),
        "corrected": of(signed, corrected=True),
        "accession": of(signed, patient=replace(PATIENT, accession="A7", issuer="")),
        "undated": of(draft, record=replace(record, heading=undated)),
        "unknown pipeline": of(draft, record=replace(record, heading=unknown)),
        "no verdict": of(draft, record=replace(record, judgements=(replace(record.judgements[0], label=""),))),
        "interrupted": of(draft, record=replace(record, interruptions=(gap,))),
        "nothing": of(draft, record=replace(record, landmarks=(), findings=(), judgements=(), not_recorded={}),
                      report=replace(report, sentences=())),
        "worded": of(draft, report=replace(report, drafted=replace(report.drafted, by="model", model="words-1"))),
        "no institution": of(draft, institution=""),
    }  # fmt: skip


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def findings(bundle: dict[str, Any]) -> dict[str, str]:
    """First seen, in s → status, of the Observations of findings."""
    return {
        one["component"][0]["valueQuantity"]["value"]: one["status"]
        for one in resources(bundle, "Observation")
        if one["code"]["coding"][0]["code"] == "finding"
    }


def test_as_hl7_defines_it(draft: Case, signed: Case) -> None:
    for name, case in variants(draft, signed).items():
        assert problems(json.loads(json.dumps(fhir.bundle(case, PDF)))) == [], name
    assert problems(fhir.bundle(signed)) == []


def test_a_corrected_patient_is_said(draft: Case, signed: Case) -> None:
    """Of the report and all that was observed: who kept the old ones learns that they were another's."""
    bundle = fhir.bundle(of(signed, corrected=True), PDF)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["status"] == "corrected"
    assert report["presentedForm"][0]["title"] == "Signed, patient corrected"
    observed = {one["status"] for one in resources(bundle, "Observation")}
    assert observed == {"corrected", *({"cancelled"} if "cancelled" in observed else ())}
    assert of(signed, corrected=True).digest != signed.digest
    assert of(draft, corrected=True).state == "draft"


def test_as_another_library_reads_it(draft: Case, signed: Case) -> None:
    read = pytest.importorskip("fhir.resources.R4B.bundle", reason="not installed: fhir.resources").Bundle
    for case in (draft, signed):
        read.model_validate(json.loads(json.dumps(fhir.bundle(case, PDF))))


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("status",), "draft", "expected one of"),  # which fhir.resources lets pass
        (("status",), None, "expected 1..1"),
        (("code",), None, "expected 1..1"),
        (("state",), "x", "no such element"),
        (("issued",), "yesterday", "no instant"),
        (("result", 0, "reference"), "urn:uuid:00000000-0000-0000-0000-000000000000", "not in the bundle"),
        (("result",), {"reference": "x"}, "expected a list"),
        (("media", 0, "link"), {"display": "x", "type": "Patient"}, "points at Patient, expected Media"),
        (("presentedForm", 0, "size"), -1, "no unsignedInt"),
        (("presentedForm", 0, "data"), "?", "no base64Binary"),
        (("identifier", 0, "use"), "mine", "expected one of"),
        (("text", "status"), "made", "expected one of"),
    ],
)
def test_the_check_can_fail(signed: Case, path: tuple[str | int, ...], value: Any, why: str) -> None:
    bundle = copy.deepcopy(fhir.bundle(signed, PDF))
    at: Any = resources(bundle, "DiagnosticReport")[0]
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    if value is None:
        del at[path[-1]]
    assert any(why in problem for problem in problems(bundle)), problems(bundle)


def test_the_check_of_observations_can_fail(signed: Case) -> None:
    for spoil, why in (({"dataAbsentReason": {"text": "x"}}, "obs-6"), ({"component": None}, "obs-7")):
        bundle = fhir.bundle(signed, PDF)
        observation = next(one for one in resources(bundle, "Observation") if "valueCodeableConcept" in one)
        spoil = {key: value or [{"code": observation["code"]}] for key, value in spoil.items()}
        observation.update(spoil)
        assert any(why in problem for problem in problems(bundle))


def test_final_only_when_signed(draft: Case, signed: Case) -> None:
    before, after = fhir.bundle(draft, PDF), fhir.bundle(signed, PDF)
    first, second = (resources(bundle, "DiagnosticReport")[0] for bundle in (before, after))
    assert (first["status"], second["status"]) == ("preliminary", "final")
    assert "resultsInterpreter" not in first
    assert second["resultsInterpreter"][0]["display"] == "Dr. Eva Test"
    assert "issued" not in first
    assert "conclusion" not in first
    assert second["code"]["coding"][0]["code"] == "18746-8"
    assert base64.b64decode(second["presentedForm"][0]["data"]) == PDF
    assert [one for one in resources(before, "Provenance") if "signature" in one] == []
    (signature,) = [one for one in resources(after, "Provenance") if "signature" in one]
    assert signature["target"][0]["reference"].endswith(second["id"])


def test_a_signed_one_takes_the_drafts_place(draft: Case, signed: Case) -> None:
    """The same ids, so that the hospital's server updates; and what was refused does not stay there as preliminary."""
    before, after = fhir.bundle(draft, PDF), fhir.bundle(signed, PDF)
    ids = [{entry["request"]["url"] for entry in bundle["entry"]} for bundle in (before, after)]
    left = {url.split("/")[0] for url in ids[0] - ids[1]}
    assert left == {"Media"}
    assert set(findings(before).values()) == {"preliminary"}
    assert findings(after) == {106.0: "cancelled", 176.0: "final", 466.0: "final"}
    cancelled = [one["id"] for one in resources(after, "Observation") if one["status"] == "cancelled"]
    told = json.dumps(resources(after, "DiagnosticReport"))
    assert not [one for one in cancelled if one in told]


def test_the_same_twice(signed: Case) -> None:
    assert fhir.bundle(signed, PDF) == fhir.bundle(of(signed), PDF)


def test_nobody_is_named_in_a_draft(draft: Case, signed: Case) -> None:
    assert '"subject"' not in json.dumps(fhir.bundle(draft, PDF))
    bundle = fhir.bundle(signed, PDF)
    assert resources(bundle, "DiagnosticReport")[0]["subject"]["identifier"]["value"] == PATIENT.id
    assert resources(bundle, "Patient") == []


def test_what_was_not_recorded_is_said(signed: Case) -> None:
    observations = resources(fhir.bundle(signed, PDF), "Observation")
    (missing,) = [one for one in observations if one["code"]["text"] == "Not recorded"]
    assert {one["code"]["text"] for one in missing["component"]} == set(signed.record.not_recorded)
    times = next(one for one in observations if one["code"]["text"] == "Times of the procedure")
    tool = next(one for one in times["component"] if "instrument in view" in one["code"]["text"])
    assert tool["dataAbsentReason"]["text"] == "this pipeline has no head that sees instruments"


def test_markup_is_text(draft: Case) -> None:
    wild = replace(draft.report.sentences[0], text="<script>alert(1)</script> & more")
    bundle = fhir.bundle(of(draft, report=replace(draft.report, sentences=(wild,))), PDF)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in resources(bundle, "DiagnosticReport")[0]["text"]["div"]
    assert problems(bundle) == []
