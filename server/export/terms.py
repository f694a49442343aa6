"""What others call what we say: LOINC and SNOMED CT codes. A word without a row is exported as text alone."""

from __future__ import annotations

from typing import NamedTuple

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
DICOM_SCHEMES = {LOINC: "LN", SNOMED: "SCT"}  # PS3.16, 8


class Term(NamedTuple):
    system: str
    code: str
    display: str


STUDIES = {  # pipeline → what the study is called
    "colonoscopy": Term(LOINC, "18746-8", "Colonoscopy study"),
    "gastroscopy": Term(LOINC, "28014-9", "EGD study"),
}
PROCEDURES = {"colonoscopy": Term(SNOMED, "73761001", "Colonoscopy")}
BODY_PARTS = {"colonoscopy": "COLON", "gastroscopy": "STOMACH"}  # PS3.16, annex L; unpaired
FINDINGS = {("colonoscopy", "polyp"): Term(SNOMED, "399505005", "Polyp of large intestine")}
SITES = {  # landmark → body site
    "caecum": Term(SNOMED, "32713005", "Caecum"),
    "terminal_ileum": Term(SNOMED, "85774003", "Terminal ileum"),
    "ascending_colon": Term(SNOMED, "9040008", "Ascending colon"),
    "transverse_colon": Term(SNOMED, "485005", "Transverse colon"),
    "descending_colon": Term(SNOMED, "32622004", "Descending colon"),
    "sigmoid_colon": Term(SNOMED, "60184004", "Sigmoid colon"),
    "rectum": Term(SNOMED, "34402009", "Rectum"),
}
SIZE = Term(SNOMED, "373197004", "Polyp size")
