"""The structured report: what was said, by whom, and the facts and pictures that it stands on.

A tree of our own under LOINC's name of the study (no TID is claimed): findings with their figures and a box in the
picture they were seen in, then the sentences of each section, each with its pictures and, where a person wrote it, with
the person's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import highdicom as hd
import numpy as np
from highdicom.sr import value_types as items
from highdicom.sr.coding import CodedConcept
from highdicom.sr.enum import GraphicTypeValues, RelationshipTypeValues
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code
from pydicom.uid import UID
from pydicom.valuerep import DT

from edge.procedure import Finding
from server.export import dicom, terms, words
from server.export.case import Case, implementation, moment
from server.export.terms import Term
from server.report import Section, Sentence

CONTAINS = RelationshipTypeValues.CONTAINS
CONTEXT = RelationshipTypeValues.HAS_OBS_CONTEXT
CONCEPT = RelationshipTypeValues.HAS_CONCEPT_MOD
INFERRED = RelationshipTypeValues.INFERRED_FROM
PROPERTY = RelationshipTypeValues.HAS_PROPERTIES
SELECTED = RelationshipTypeValues.SELECTED_FROM

_OURS = "99ENDOEDGE"
_HEADINGS: dict[Section, Code] = {
    "procedure": Code("121064", "DCM", "Current Procedure Descriptions"),
    "quality": Code("quality", _OURS, "Quality"),
    "landmarks": Code("landmarks", _OURS, "Landmarks"),
    "findings": Code("121070", "DCM", "Findings"),
    "summary": Code("121076", "DCM", "Conclusions"),
    "not_recorded": Code("not_recorded", _OURS, "Not recorded"),
}
_FINDING = Code("121071", "DCM", "Finding")
_SAID: dict[Section, Code] = {"findings": _FINDING, "summary": Code("121077", "DCM", "Conclusion")}
_COMMENT = Code("121106", "DCM", "Comment")
_PICTURE = Code("121200", "DCM", "Illustration of ROI")
_REGION = Code("111030", "DCM", "Image Region")
_SECONDS = Code("s", "UCUM", "s")
_ONE = Code("1", "UCUM", "no units")


def report(case: Case, pictures: Mapping[str, Dataset], document: Dataset) -> Dataset:
    """`pictures` by the id of their fact."""
    signed = case.report.signatures[0] if case.signed else None
    made = hd.sr.ComprehensiveSR(
        evidence=[document, *pictures.values()],
        content=_tree(case, pictures, document),
        series_instance_uid=dicom.series(case, "SR"),
        series_number=dicom.series_number("SR"),
        sop_instance_uid=case.uid("sr", case.digest),
        instance_number=1,
        manufacturer="EndoEdge",
        is_complete=case.signed,
        is_final=case.signed,
        is_verified=case.signed,
        institution_name=case.institution[:64] or None,
        verifying_observer_name=_name(signed.name) if signed else None,
        verifying_organization=_organisation(case),
    )
    _settle(case, made, document)
    return made


def _settle(case: Case, made: Dataset, document: Dataset) -> None:
    """The library writes down the moment at which it ran: put the report's own in its place, and all who signed."""
    for name in ("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime"):
        setattr(made, name, getattr(document, name))
    for name in ("TimezoneOffsetFromUTC", "StudyDescription", "ManufacturerModelName", "SoftwareVersions"):
        setattr(made, name, getattr(document, name))
    for equipment in made.ContributingEquipmentSequence:
        equipment.ContributionDateTime = DT(f"{made.ContentDate}{made.ContentTime}+0000")
    made.file_meta.ImplementationClassUID, made.file_meta.ImplementationVersionName = UID(implementation()), "ENDOEDGE"
    if not case.signed:
        return
    observers = []
    for signature in case.report.signatures:
        observer = Dataset()
        observer.VerifyingObserverName = _name(signature.name)
        observer.VerifyingOrganization = _organisation(case)
        observer.VerificationDateTime = DT(f"{moment(signature.at):%Y%m%d%H%M%S}+0000")
        observer.VerifyingObserverIdentificationCodeSequence = []
        observers.append(observer)
    made.VerifyingObserverSequence = observers


def _tree(case: Case, pictures: Mapping[str, Dataset], document: Dataset) -> Dataset:
    study = terms.STUDIES.get(case.record.heading.made_by.pipeline)
    root = items.ContainerContentItem(_concept(study) if study else Code("study", _OURS, "Endoscopy study"))
    heading = case.record.heading
    language = Code(case.report.language, "RFC5646", words.NAMES[case.report.language])
    root.ContentSequence = Sequence(
        [
            items.CodeContentItem(
                Code("121049", "DCM", "Language of Content Item and Descendants"), language, relationship_type=CONCEPT
            ),
            items.CodeContentItem(
                Code("121005", "DCM", "Observer Type"), Code("121007", "DCM", "Device"), relationship_type=CONTEXT
            ),
            items.UIDRefContentItem(
                Code("121012", "DCM", "Device Observer UID"), case.device_uid, relationship_type=CONTEXT
            ),
            items.TextContentItem(
                Code("121013", "DCM", "Device Observer Name"), heading.device, relationship_type=CONTEXT
            ),
            *(section for name in get_args(Section) if (section := _section(case, name, pictures)) is not None),
            items.CompositeContentItem(
                Code("document", _OURS, "Report as a document"),
                document.SOPClassUID,
                document.SOPInstanceUID,
                relationship_type=CONTAINS,
            ),
        ]
    )
    return root


def _section(case: Case, name: Section, pictures: Mapping[str, Dataset]) -> Dataset | None:
    """None: there is nothing in it."""
    content = []
    if name == "findings":
        content += [_finding(case, one, pictures) for one in case.record.findings if one.id in case.taken()]
    content += [_said(one, pictures) for one in case.report.standing() if one.section == name]
    if not content:
        return None
    section = items.ContainerContentItem(_HEADINGS[name], relationship_type=CONTAINS)
    section.ContentSequence = Sequence(content)
    return section


def _finding(case: Case, finding: Finding, pictures: Mapping[str, Dataset]) -> Dataset:
    known = terms.FINDINGS.get((case.record.heading.made_by.pipeline, finding.label))
    value = _concept(known) if known else Code(finding.label[:16], _OURS, f"possible {finding.label}"[:64])
    item = items.CodeContentItem(_FINDING, value, relationship_type=CONTAINS)
    figures = [("best_score", "Best score", finding.best_score, _ONE), ("frames", "Frames", finding.frames, _ONE)]
    figures += [(f"{when}_seen", f"{when.title()} seen", seconds, _SECONDS) for when, seconds in _seen(finding)]
    content: list[Dataset] = [
        items.TextContentItem(Code("fact", _OURS, "Fact of the record"), finding.id, relationship_type=PROPERTY),
        *(
            items.NumContentItem(Code(code, _OURS, meaning), value, unit, relationship_type=PROPERTY)
            for code, meaning, value, unit in figures
        ),
    ]
    if finding.id in pictures:
        content.append(_region(finding, pictures[finding.id]))
    item.ContentSequence = Sequence(content)
    return item


def _seen(finding: Finding) -> list[tuple[str, float]]:
    return [("first", finding.first_seen_s), ("last", finding.last_seen_s)]


def _region(finding: Finding, picture: Dataset) -> Dataset:
    """The picture, and where in it the box was."""
    box = finding.key_frame.box if finding.key_frame is not None else None
    if box is None:
        return _image(picture, INFERRED)
    x0, y0, x1, y1 = box
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
    region = items.ScoordContentItem(_REGION, GraphicTypeValues.POLYLINE, corners, relationship_type=INFERRED)
    region.ContentSequence = Sequence([_image(picture, SELECTED)])
    return region


def _said(sentence: Sentence, pictures: Mapping[str, Dataset]) -> Dataset:
    name = _SAID.get(sentence.section, _COMMENT)
    item = items.TextContentItem(name, sentence.text, relationship_type=CONTAINS)
    content: list[Dataset] = []
    if sentence.by == "person":
        person = Code("121006", "DCM", "Person")
        content = [
            items.CodeContentItem(Code("121005", "DCM", "Observer Type"), person, relationship_type=CONTEXT),
            items.PnameContentItem(
                Code("121008", "DCM", "Person Observer Name"), _name(sentence.author), relationship_type=CONTEXT
            ),
        ]
    content += [_image(pictures[fact], INFERRED) for fact in sentence.cites if fact in pictures]
    if content:
        item.ContentSequence = Sequence(content)
    return item


def _image(picture: Dataset, relationship: RelationshipTypeValues) -> Dataset:
    return items.ImageContentItem(_PICTURE, picture.SOPClassUID, picture.SOPInstanceUID, relationship_type=relationship)


def _concept(term: Term) -> CodedConcept:
    return CodedConcept(term.code, terms.DICOM_SCHEMES[term.system], term.display)


def _name(text: str) -> str:
    """A family name alone: a signature does not say which of its words is one."""
    plain = "".join(" " if letter in "^=\\" else letter for letter in text)
    return f"{plain[:63].strip() or 'unknown'}^"


def _organisation(case: Case) -> str:
    return case.institution[:64] or "not stated"
