"""What a report's page says beside its sentences, in each language. A missing word fails a test."""

from __future__ import annotations

from server.export.case import ExportError

_ENGLISH = {
    "report": "Endoscopy report",
    "colonoscopy": "Colonoscopy report",
    "gastroscopy": "Gastroscopy report",
    "draft": "Draft – not signed",
    "final": "Signed",
    "amended": "Signed, amended",
    "corrected": "Signed, patient corrected",
    "patient": "Patient",
    "no_patient": "not joined",
    "born": "born",
    "accession": "Accession number",
    "female": "female",
    "male": "male",
    "other": "other sex",
    "unknown": "sex not known",
    "started": "Started",
    "clock": "the box's clock was not set",
    "duration": "Duration",
    "insertion": "Insertion",
    "withdrawal": "Withdrawal",
    "not_recorded": "Not recorded",
    "box": "Box",
    "number": "Procedure",
    "revision": "revision",
    "procedure": "Procedure",
    "quality": "Quality",
    "landmarks": "Landmarks",
    "findings": "Findings",
    "summary": "Summary",
    "pictures": "Pictures",
    "pictures_why": "Taken by the box: the best view of each. The boxes mark what it reacted to.",
    "signatures": "Signatures",
    "unsigned": "Nobody has signed this. It must not be used for care.",
    "signed_by": "Signed by",
    "mark_template": "M",
    "mark_model": "L",
    "mark_person": "P",
    "by_template": "written by the machine from the box's record",
    "by_model": "worded by a language model from the box's record",
    "by_person": "written by a person (named after it)",
    "legend": "Who said it",
    "assist": "The box assists only. It makes no diagnosis and advises no treatment; a clinician judges the findings.",
    "made_by": "Made by",
    "model": "model",
    "pipeline": "pipeline",
    "cited": "In brackets: the facts of the record that support it.",
    "at": "at",
    "score": "score",
    "page": "Page",
    "of": "of",
}
_GERMAN = {
    "report": "Endoskopiebericht",
    "colonoscopy": "Koloskopiebericht",
    "gastroscopy": "Gastroskopiebericht",
    "draft": "Entwurf – nicht unterschrieben",
    "final": "Unterschrieben",
    "amended": "Unterschrieben, ergänzt",
    "corrected": "Unterschrieben, Patient berichtigt",
    "patient": "Patient",
    "no_patient": "nicht zugeordnet",
    "born": "geboren",
    "accession": "Auftragsnummer",
    "female": "weiblich",
    "male": "männlich",
    "other": "divers",
    "unknown": "Geschlecht nicht bekannt",
    "started": "Beginn",
    "clock": "die Uhr des Geräts war nicht gestellt",
    "duration": "Dauer",
    "insertion": "Vorschub",
    "withdrawal": "Rückzug",
    "not_recorded": "Nicht erfasst",
    "box": "Gerät",
    "number": "Untersuchung",
    "revision": "Fassung",
    "procedure": "Untersuchung",
    "quality": "Qualität",
    "landmarks": "Landmarken",
    "findings": "Befunde",
    "summary": "Zusammenfassung",
    "pictures": "Bilder",
    "pictures_why": "Vom Gerät aufgenommen: jeweils die beste Ansicht. Die Rahmen zeigen, worauf es ansprach.",
    "signatures": "Unterschriften",
    "unsigned": "Niemand hat dies unterschrieben. Es darf nicht für die Behandlung verwendet werden.",
    "signed_by": "Unterschrieben von",
    "mark_template": "M",
    "mark_model": "S",
    "mark_person": "P",
    "by_template": "von der Maschine aus den Aufzeichnungen des Geräts geschrieben",
    "by_model": "von einem Sprachmodell aus den Aufzeichnungen des Geräts formuliert",
    "by_person": "von einem Menschen geschrieben (der danach genannt ist)",
    "legend": "Wer es sagt",
    "assist": "Das Gerät unterstützt nur. Es stellt keine Diagnose und rät zu keiner Behandlung; "
    "die Befunde beurteilt eine Ärztin oder ein Arzt.",
    "made_by": "Erstellt mit",
    "model": "Modell",
    "pipeline": "Pipeline",
    "cited": "In Klammern: was es in den Aufzeichnungen belegt.",
    "at": "bei",
    "score": "Sicherheit",
    "page": "Seite",
    "of": "von",
}
NAMES = {"en": "English", "de": "German"}
LANGUAGES = {"en": _ENGLISH, "de": _GERMAN}
TERMS = {  # a label of ours for people; others are shown as they are
    "en": {"polyp": "possible polyp", "caecum": "caecum"},
    "de": {"polyp": "möglicher Polyp", "caecum": "Zökum"},
}


def words(language: str) -> dict[str, str]:
    """Raises ExportError for a language that has none."""
    if language not in LANGUAGES:
        raise ExportError(f"language {language!r}: expected one of {', '.join(sorted(LANGUAGES))}")
    return LANGUAGES[language]


def term(language: str, label: str) -> str:
    return TERMS.get(language, {}).get(label, label.replace("_", " "))


def clock(seconds: float) -> str:
    """Minutes and seconds: 754.2 → "12:34"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
