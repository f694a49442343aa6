"""A report as DICOM instances: its key frames (VL Endoscopic, the JPEG as it is), the PDF encapsulated, and a
Comprehensive SR. No UID is drawn: a picture's is made of the fact, the key frame and the study, a document's of all
that a reader can see. What is sent twice is stored once; a report with another word or signature is another instance.

Without a patient: Patient ID `EndoEdge-` and a number of the procedure's own, Patient's Name `NOT JOINED^`, the rest
empty. Without a clock that can be believed: Study Date and Time are empty. All times are UTC and say so.
"""

from __future__ import annotations

import datetime
import io

from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite

from edge.procedure import KeyFrame
from server.export import jpeg, terms
from server.export.case import Case, ExportError, Fact, implementation
from server.export.terms import Term

UNSIGNED, SIGNED = "UNVERIFIED", "VERIFIED"
_SERIES = {"ES": 1, "DOC": 2, "SR": 3}  # modality → Series Number
_SEX = {"female": "F", "male": "M", "other": "O", "unknown": ""}


def instances(case: Case, pdf: bytes) -> list[Dataset]:
    """Key frames, then the document, then the structured report, which points at them. Raises ExportError."""
    from server.export import sr  # highdicom is large: only where a structured report is made

    pictures = {fact.id: _picture(case, fact, frame) for fact, frame in case.pictures()}
    document = _document(case, pdf)
    return [*pictures.values(), document, sr.report(case, pictures, document)]


def written(instance: Dataset) -> bytes:
    """As a DICOM file (PS3.10)."""
    file = io.BytesIO()
    dcmwrite(file, instance, enforce_file_format=True)
    return file.getvalue()


def _picture(case: Case, fact: Fact, frame: KeyFrame) -> Dataset:
    """Nothing in it depends on the report: the draft's pictures are the signed one's."""
    content = case.frames[frame.sha256]
    told = jpeg.read(content)
    if not told.baseline or told.components not in (1, 3):
        raise ExportError(f"key frame {frame.sha256}: expected a baseline JPEG of one or three components of 8 bits")
    number = 1 + [*case.record.landmarks, *case.record.findings].index(fact)
    instance = _instance(case, uid.VLEndoscopicImageStorage, case.picture_uid(fact, frame), "ES", number)
    instance.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    instance.ImageType = ["ORIGINAL", "PRIMARY"]
    at = case.at(frame.at_s)
    if at is not None:
        instance.ContentDate, instance.ContentTime = _date(at), _time(at)
        instance.AcquisitionDateTime = f"{_date(at)}{_time(at)}+0000"
    instance.PatientOrientation = None
    instance.ImageComments = f"{fact.id}, {frame.at_s:.1f} s after the procedure's start"
    instance.BurnedInAnnotation = "NO"
    instance.AcquisitionContextSequence = []
    pipeline = case.record.heading.made_by.pipeline
    if pipeline in terms.BODY_PARTS:
        instance.BodyPartExamined = terms.BODY_PARTS[pipeline]
    kind = getattr(fact, "kind", "")
    if kind in terms.SITES:
        instance.AnatomicRegionSequence = [coded(terms.SITES[kind])]
    instance.SamplesPerPixel = told.components
    instance.PhotometricInterpretation = _photometric(told)
    if told.components == 3:
        instance.PlanarConfiguration = 0
    instance.Rows, instance.Columns = told.height, told.width
    instance.BitsAllocated = instance.BitsStored = 8
    instance.HighBit, instance.PixelRepresentation = 7, 0
    instance.LossyImageCompression = "01"
    instance.LossyImageCompressionRatio = f"{told.width * told.height * told.components / len(content):.2f}"
    instance.LossyImageCompressionMethod = "ISO_10918_1"
    instance.PixelData = encapsulate([content])
    instance["PixelData"].VR = "OB"
    instance["PixelData"].is_undefined_length = True
    return instance


def _photometric(told: jpeg.Jpeg) -> str:
    """PS3.5, 8.2.1: what the JPEG holds, for its bytes are not touched."""
    if told.components == 1:
        return "MONOCHROME2"
    if not told.transformed:
        return "RGB"
    return "YBR_FULL_422" if told.halved else "YBR_FULL"


def _document(case: Case, pdf: bytes) -> Dataset:
    instance = _instance(case, uid.EncapsulatedPDFStorage, case.uid("pdf", case.digest), "DOC", 1)
    instance.InstanceCreationDate, instance.InstanceCreationTime = _date(case.dated), _time(case.dated)
    instance.ConversionType = "WSD"
    instance.ContentDate, instance.ContentTime = _date(case.dated), _time(case.dated)
    at = case.at()
    instance.AcquisitionDateTime = "" if at is None else f"{_date(at)}{_time(at)}+0000"
    instance.BurnedInAnnotation = "YES" if case.patient else "NO"
    if case.pictures():
        instance.SourceInstanceSequence = [_source(case.picture_uid(*picture)) for picture in case.pictures()]
    study = terms.STUDIES.get(case.record.heading.made_by.pipeline)
    instance.DocumentTitle = study.display if study else "Endoscopy study"
    instance.ConceptNameCodeSequence = [coded(study)] if study else []
    instance.VerificationFlag = SIGNED if case.signed else UNSIGNED
    instance.MIMETypeOfEncapsulatedDocument = "application/pdf"
    instance.EncapsulatedDocumentLength = len(pdf)
    instance.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return instance


def _source(picture: str) -> Dataset:
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = uid.VLEndoscopicImageStorage, picture
    return source


def _instance(case: Case, sop_class: uid.UID, sop_instance: str, modality: str, number: int) -> Dataset:
    """What all have in common: patient, study, series, equipment."""
    instance = Dataset()
    instance.file_meta = _meta(sop_class, sop_instance)
    instance.SpecificCharacterSet = "ISO_IR 192"
    instance.TimezoneOffsetFromUTC = "+0000"
    instance.SOPClassUID, instance.SOPInstanceUID = sop_class, sop_instance
    _patient(case, instance)
    instance.StudyInstanceUID = case.study
    instance.StudyDate, instance.StudyTime = _date(case.at()), _time(case.at())
    instance.StudyID = case.uuid("study").hex[:16]
    instance.AccessionNumber = case.patient.accession if case.patient else ""
    instance.ReferringPhysicianName = ""
    study = terms.STUDIES.get(case.record.heading.made_by.pipeline)
    instance.StudyDescription = study.display if study else "Endoscopy study"
    instance.SeriesInstanceUID = series(case, modality)
    instance.SeriesNumber = _SERIES[modality]
    instance.Modality = modality
    instance.InstanceNumber = number
    instance.Manufacturer = "EndoEdge"
    instance.ManufacturerModelName = case.record.heading.made_by.model[:64]
    instance.SoftwareVersions = case.record.heading.made_by.software[:64]
    instance.StationName = case.record.heading.device[:16]
    if case.institution:
        instance.InstitutionName = case.institution[:64]
    return instance


def series(case: Case, modality: str) -> str:
    return case.uid("series", modality, case.study)


def series_number(modality: str) -> int:
    return _SERIES[modality]


def _patient(case: Case, instance: Dataset) -> None:
    patient = case.patient
    if patient is None:
        instance.PatientID = f"EndoEdge-{case.uuid('patient').hex}"
        instance.PatientName, instance.PatientBirthDate, instance.PatientSex = "NOT JOINED^", "", ""
        return
    instance.PatientID, instance.IssuerOfPatientID = patient.id, patient.issuer
    instance.PatientName = f"{patient.family}^{patient.given}"
    instance.PatientBirthDate = patient.birth_date.replace("-", "")
    instance.PatientSex = _SEX[patient.sex]


def _meta(sop_class: uid.UID, sop_instance: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, uid.UID(sop_instance)
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = uid.UID(implementation()), "ENDOEDGE"
    return meta


def coded(term: Term) -> Dataset:
    """A code sequence's item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = term.code, terms.DICOM_SCHEMES[term.system]
    item.CodeMeaning = term.display
    return item


def _date(time: datetime.datetime | None) -> str:
    return "" if time is None else f"{time:%Y%m%d}"


def _time(time: datetime.datetime | None) -> str:
    return "" if time is None else f"{time:%H%M%S.%f}"
