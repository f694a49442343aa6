"""A folder of `learn export`, of procedures in the software colon that people have signed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from server import edits
from server.learn.case import SignedCase
from server.learn.export import Options, export
from server.report import Signature
from tools import export_example


def cases(count: int) -> Iterator[SignedCase]:
    """Each with a sentence that a person has said in other words."""
    record, frames = export_example.example()
    record = replace(record, landmarks=(), findings=record.findings[-1:])  # one picture: a test has no time for four
    for number in range(count):
        numbered = replace(record, procedure=f"case-{number}")
        said = tuple(one for one in export_example.draft().sentences if not set(one.cites) - record.ids())
        draft = replace(export_example.draft(), procedure=numbered.procedure, sentences=said[-2:])
        text = f"A flat polyp was seen from {number} s on."
        signed = edits.change(draft, "S8", text, None, "etest", numbered)
        signed = edits.sign(signed, Signature(account="etest", name="Eva Test", at="2026-03-02T10:05:11Z"), 1)
        patient = replace(export_example.PATIENT, id=f"P{number:05d}")
        yield SignedCase(numbered, draft, signed, frames, patient)


def exported(folder: Path, count: int = 12, held: float = 0.2) -> Path:
    export(folder, cases(count), "endoedge test", Options(held=held))
    return folder
