"""A folder of `learn export`, of procedures in the software colon that people have signed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from server import edits
from server.learn.case import SignedCase
from server.learn.export import Options, export
from server.report import Signature
from server.words import checklist, template
from tools import export_example


def cases(count: int) -> Iterator[SignedCase]:
    """Each with a mark that a person has taken out, another number in it, and one picture: tests have little time."""
    record, frames = export_example.example()
    lists = checklist.load()
    made_by = replace(record.heading.made_by, pipeline="other")  # with a short list
    heading = replace(record.heading, made_by=made_by)
    for number in range(count):
        times = replace(record.times, duration_s=600.0 + number)
        numbered = replace(record, procedure=f"case-{number}", times=times, judgements=(), landmarks=())
        numbered = replace(numbered, findings=record.findings[-1:], heading=heading, not_recorded={})
        draft = template.draft(numbered, "en", lists)
        mark = next(one.id for one in draft.sentences if one.section == "findings")
        signed = edits.strike(draft, mark, "a fold", "etest")
        signed = edits.sign(signed, Signature(account="etest", name="Eva Test", at="2026-03-02T10:05:11Z"), 1)
        yield SignedCase(numbered, draft, signed, frames, replace(export_example.PATIENT, id=f"P{number:05d}"))


def exported(folder: Path, count: int = 5, held: float = 0.2) -> Path:
    export(folder, cases(count), "endoedge test", Options(held=held))
    return folder
