"""A report as a FHIR R4B transaction: every resource is PUT under an id that the procedure gives it, so that sending it
again, or sending the signed one after the draft, is an update and never a second report.

The box's times, findings and the like are Observations; what a signed report no longer speaks of is sent as
`cancelled`. Patient and people are named by identifier: they live in the hospital's own systems, and none is made here.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator
from typing import Any

from edge.procedure import Finding, Interruption, Judgement, KeyFrame, Landmark
from server.export import terms, words
from server.export.case import Case, Fact, moment, oid
from server.export.terms import Term
from server.report import Signature

Json = dict[str, Any]
# Of reports, and of observations.
STATUS = {"draft": "preliminary", "final": "final", "amended": "amended", "corrected": "corrected"}
_HL7 = "http://terminology.hl7.org/CodeSystem"
_VERIFIED = {
    "system": "urn:iso-astm:E1762-95:2013",
    "code": "1.2.840.10065.1.12.1.5",
    "display": "Verification Signature",
}
_TIMES = {  # of `edge.procedure.Times`
    "duration_s": "Duration",
    "insertion_s": "Insertion time",
    "withdrawal_s": "Withdrawal time",
    "withdrawal_tool_s": "Withdrawal time with an instrument in view",
    "withdrawal_poor_s": "Withdrawal time without a good view and without an instrument",
}


def bundle(case: Case, pdf: bytes | None = None) -> Json:
    """`pdf` goes along as the report's presented form. The same for the same case."""
    pictures = {fact.id: _media(case, fact, frame) for fact, frame in case.pictures()}
    observations = {fact: _observation(case, fact, about, pictures) for fact, about in _about(case)}
    report = _report(case, observations, pictures, pdf)
    resources = [report, _device(case), *observations.values(), *pictures.values(), *_provenance(case)]
    return {
        "resourceType": "Bundle",
        "identifier": {"system": oid("report"), "value": str(case.uuid("report"))},
        "type": "transaction",
        "timestamp": _instant(case),
        "entry": [
            {
                "fullUrl": f"urn:uuid:{resource['id']}",
                "resource": resource,
                "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"},
            }
            for resource in resources
        ],
    }


def _report(case: Case, observations: dict[str, Json], pictures: dict[str, Json], pdf: bytes | None) -> Json:
    pipeline = case.record.heading.made_by.pipeline
    said = case.report.standing()
    conclusion = " ".join(sentence.text for sentence in said if sentence.section == "summary")
    return _some(
        resourceType="DiagnosticReport",
        id=str(case.uuid("report")),
        language=case.report.language,
        text=_narrative(case),
        identifier=[{"system": oid("procedure"), "value": case.record.procedure}, *_accession(case)],
        status=STATUS[case.state],
        code=_concept(terms.STUDIES.get(pipeline), f"{pipeline} study"),
        subject=_subject(case),
        effectivePeriod=_period(case, 0.0, case.record.times.duration_s),
        issued=_instant(case) if case.signed else None,
        performer=[{"type": "Organization", "display": case.institution}] if case.institution else None,
        resultsInterpreter=[_person(one) for one in case.report.signatures],
        result=[_to(one) for fact, one in observations.items() if fact in case.taken() or fact == "not_recorded"],
        imagingStudy=[
            {"type": "ImagingStudy", "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{case.study}"}}
        ],
        media=[{"comment": _label(fact), "link": _to(pictures[fact.id])} for fact, _ in case.pictures()],
        conclusion=conclusion if case.signed else None,
        presentedForm=None if pdf is None else [_pdf(case, pdf)],
    )


def _pdf(case: Case, pdf: bytes) -> Json:
    title = words.words(case.report.language)[case.state]
    return {**_attachment("application/pdf", pdf), "language": case.report.language, "title": title}


def _narrative(case: Case) -> Json:
    said = "".join(f"<p>{html.escape(sentence.text)}</p>" for sentence in case.report.standing())
    state = html.escape(words.words(case.report.language)[case.state])
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{state}</p>{said}</div>'}


# ------------------------------------------------------------------------------------------- observations


def _about(case: Case) -> Iterator[tuple[str, Json]]:
    """Each fact's id, and what an Observation says of it alone."""
    yield case.record.times.id, _times(case)
    for landmark in case.record.landmarks:
        yield landmark.id, _landmark(case, landmark)
    for finding in case.record.findings:
        yield finding.id, _finding(case, finding)
    for judgement in case.record.judgements:
        yield judgement.id, _judgement(case, judgement)
    for interruption in case.record.interruptions:
        yield interruption.id, _interruption(case, interruption)
    if case.record.not_recorded:
        yield "not_recorded", _not_recorded(case)


def _observation(case: Case, fact: str, about: Json, pictures: dict[str, Json]) -> Json:
    refused = fact not in case.taken() and fact != "not_recorded"
    return _some(
        resourceType="Observation",
        id=str(case.uuid(fact)),
        identifier=[{"system": oid("fact"), "value": str(case.uuid(fact))}],
        status="cancelled" if refused else STATUS[case.state],
        category=[{"coding": [{"system": f"{_HL7}/observation-category", "code": "procedure"}]}],
        subject=_subject(case),
        device={"reference": f"urn:uuid:{case.device}", "display": case.record.heading.device},
        method={"text": "Judged by software from the endoscope's picture"},
        derivedFrom=[_to(pictures[fact])] if fact in pictures else None,
        note=[_some(text=one.text, authorString=one.author) for one in case.about(fact)],
        **about,
    )


def _times(case: Case) -> Json:
    times, why = case.record.times, case.record.not_recorded
    components = []
    for name, called in _TIMES.items():
        seconds = getattr(times, name)
        missing = why.get("instruments" if name == "withdrawal_tool_s" else "withdrawal", "")
        value = _absent("unknown", missing) if seconds is None else {"valueQuantity": _seconds(seconds)}
        components.append({"code": _ours(name, called), **value})
    for view, seconds in times.view_s.items():
        components.append({"code": _ours("view_s", f"View: {view}"), "valueQuantity": _seconds(seconds)})
    return _some(
        code=_ours("times", "Times of the procedure"),
        effectivePeriod=_period(case, 0.0, times.duration_s),
        component=components,
    )


def _landmark(case: Case, landmark: Landmark) -> Json:
    return _some(
        code=_ours("landmark", "Landmark seen"),
        valueCodeableConcept=_concept(terms.SITES.get(landmark.kind), landmark.kind),
        bodySite=_concept(terms.SITES[landmark.kind], landmark.kind) if landmark.kind in terms.SITES else None,
        effectiveDateTime=_time(case, landmark.first_seen_s),
        component=[_after("first_seen_s", "First seen", landmark.first_seen_s), _score(landmark)],
    )


def _finding(case: Case, finding: Finding) -> Json:
    known = terms.FINDINGS.get((case.record.heading.made_by.pipeline, finding.label))
    components = [
        _after("first_seen_s", "First seen", finding.first_seen_s),
        _after("last_seen_s", "Last seen", finding.last_seen_s),
        _score(finding),
        {"code": _ours("frames", "Frames in which it was seen"), "valueInteger": finding.frames},
        {"code": _ours("alerted", "Announced while in view"), "valueBoolean": finding.alerted},
    ]
    if "size" in case.record.not_recorded:
        size = _concept(terms.SIZE if finding.label == "polyp" else None, "Size")
        components.append({"code": size, **_absent("unsupported", case.record.not_recorded["size"])})
    return _some(
        code=_ours("finding", "Region marked by computer-aided detection"),
        valueCodeableConcept=_concept(known, f"possible {finding.label}"),
        effectivePeriod=_period(case, finding.first_seen_s, finding.last_seen_s),
        component=components,
    )


def _judgement(case: Case, judgement: Judgement) -> Json:
    verdict = {"valueCodeableConcept": {"text": judgement.label}}
    return _some(
        code=_ours("judgement", f"Judged over all good views: {judgement.kind}"),
        effectivePeriod=_period(case, 0.0, case.record.times.duration_s),
        component=[
            {"code": _ours("views", "Views in which the judge was sure"), "valueInteger": judgement.views},
            {"code": _ours("unsure", "Views in which it was not"), "valueInteger": judgement.unsure},
            *(
                {"code": _ours("share", f"Share of views: {label}"), "valueQuantity": _quantity(share, "1")}
                for label, share in judgement.shares.items()
            ),
        ],
        **(verdict if judgement.label else _absent("unknown", "no verdict")),
    )


def _interruption(case: Case, interruption: Interruption) -> Json:
    return _some(
        code=_ours("interruption", "No picture to look at"),
        valueString=interruption.state,
        effectivePeriod=_period(case, interruption.from_s, interruption.to_s),
        component=[_after("from_s", "From", interruption.from_s), _after("to_s", "Until", interruption.to_s)],
    )


def _not_recorded(case: Case) -> Json:
    return {
        "code": _ours("not_recorded", "Not recorded"),
        "component": [
            {"code": _ours(f"not_recorded/{what}", what), **_absent("unsupported", why)}
            for what, why in case.record.not_recorded.items()
        ],
    }


# ------------------------------------------------------------------------------- device, pictures, signatures


def _device(case: Case) -> Json:
    heading = case.record.heading
    made = heading.made_by
    versions = {
        "software": made.software,
        "model": f"{made.model} {made.model_version} {made.precision} sha256:{made.model_sha256}",
        "pipeline": f"{made.pipeline} sha256:{made.pipeline_sha256}",
    }
    return {
        "resourceType": "Device",
        "id": str(case.device),
        "identifier": [{"system": oid("device"), "value": heading.device}],
        "status": "active",
        "deviceName": [{"name": heading.device, "type": "user-friendly-name"}],
        "type": {"text": "Computer-aided detection beside an endoscopy tower"},
        "version": [{"type": {"text": part}, "value": value} for part, value in versions.items()],
    }


def _media(case: Case, fact: Fact, frame: KeyFrame) -> Json:
    return _some(
        resourceType="Media",
        id=str(case.uuid(fact.id, frame.sha256)),
        identifier=[{"system": "urn:dicom:uid", "value": f"urn:oid:{case.picture_uid(fact, frame)}"}],
        status="completed",
        type={"coding": [{"system": f"{_HL7}/media-type", "code": "image", "display": "Image"}]},
        subject=_subject(case),
        createdDateTime=_time(case, frame.at_s),
        device={"reference": f"urn:uuid:{case.device}"},
        width=frame.width,
        height=frame.height,
        content={**_attachment("image/jpeg", case.frames[frame.sha256]), "title": _label(fact)},
    )


def _provenance(case: Case) -> Iterator[Json]:
    """How the draft came about, then each signature."""
    drafted = case.report.drafted
    assembler = {"type": _role("assembler"), "who": {"reference": f"urn:uuid:{case.device}"}}
    model = {"type": _role("composer"), "who": {"type": "Device", "display": drafted.model}}
    yield _some(
        resourceType="Provenance",
        id=str(case.uuid("provenance", "draft")),
        target=[{"reference": f"urn:uuid:{case.uuid('report')}"}],
        recorded=_instant(case),
        agent=[assembler, model] if drafted.model else [assembler],
    )
    for signature in case.report.signatures:
        person, when = _person(signature), moment(signature.at).isoformat()
        yield _some(
            resourceType="Provenance",
            id=str(case.uuid("provenance", "signature", signature.account, signature.at)),
            target=[{"reference": f"urn:uuid:{case.uuid('report')}"}],
            recorded=when,
            agent=[{"type": _role("attester"), "who": person}],
            signature=[{"type": [_VERIFIED], "when": when, "who": person}],
        )


# ------------------------------------------------------------------------------------------------- pieces


def _some(**values: Any) -> Json:
    """Without what is not there: FHIR knows no null, no empty list and no empty text."""
    return {name: value for name, value in values.items() if value is not None and value != [] and value != ""}


def _to(resource: Json) -> Json:
    return {"reference": f"urn:uuid:{resource['id']}"}


def _concept(known: Term | None, text: str) -> Json:
    return {"coding": [known._asdict()], "text": text} if known else {"text": text}


def _ours(code: str, text: str) -> Json:
    return {"coding": [{"system": oid("code"), "code": code, "display": text}], "text": text}


def _absent(code: str, why: str) -> Json:
    reason = _some(coding=[{"system": f"{_HL7}/data-absent-reason", "code": code}], text=why)
    return {"dataAbsentReason": reason}


def _role(code: str) -> Json:
    return {"coding": [{"system": f"{_HL7}/provenance-participant-type", "code": code}]}


def _quantity(value: float, unit: str) -> Json:
    return {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}


def _seconds(value: float) -> Json:
    return _quantity(value, "s")


def _after(code: str, text: str, seconds: float) -> Json:
    return {"code": _ours(code, f"{text}, after the procedure's start"), "valueQuantity": _seconds(seconds)}


def _score(fact: Fact) -> Json:
    return {"code": _ours("best_score", "Best score"), "valueQuantity": _quantity(fact.best_score, "1")}


def _label(fact: Fact) -> str:
    return f"{fact.id} {fact.label if isinstance(fact, Finding) else fact.kind}"


def _attachment(kind: str, content: bytes) -> Json:
    return {
        "contentType": kind,
        "data": base64.b64encode(content).decode(),
        "size": len(content),
        "hash": base64.b64encode(hashlib.sha1(content).digest()).decode(),  # as FHIR wants it; no safeguard
    }


def _accession(case: Case) -> list[Json]:
    if case.patient is None or not case.patient.accession:
        return []
    kind = {"coding": [{"system": f"{_HL7}/v2-0203", "code": "ACSN"}]}
    return [{"type": kind, "value": case.patient.accession}]


def _subject(case: Case) -> Json | None:
    patient = case.patient
    if patient is None:
        return None
    identifier = _some(value=patient.id, assigner={"display": patient.issuer} if patient.issuer else None)
    return {"type": "Patient", "identifier": identifier, "display": patient.name}


def _person(one: Signature) -> Json:
    return {"type": "Practitioner", "identifier": {"system": oid("account"), "value": one.account}, "display": one.name}


def _time(case: Case, seconds: float) -> str | None:
    time = case.at(seconds)
    return None if time is None else time.isoformat(timespec="milliseconds")


def _period(case: Case, first_s: float, last_s: float) -> Json | None:
    first, last = _time(case, first_s), _time(case, last_s)
    return None if first is None else {"start": first, "end": last}


def _instant(case: Case) -> str:
    return case.dated.isoformat(timespec="seconds")
