#!/usr/bin/env python3
"""Write what `python -m server.export` takes, of a procedure in the software colon: nobody's pictures, nobody's name.

    python -m tools.export_example DIR
    python -m server.export --record DIR/record.json --report DIR/report.json --patient DIR/patient.json \\
        --frames DIR/frames --out DIR/out
"""

from __future__ import annotations

import argparse
import datetime
import functools
from pathlib import Path

import msgspec

from edge.procedure import Finding, Judgement, KeyFrame, Landmark, Record, Times
from server import simulate
from server.patient import Patient
from server.report import Drafted, Report, Section, Sentence, Signature

SHOWN = (11, 18, 47)  # frames of the phantom with a polyp in full view
DEVICE, PROCEDURE = "example-box", "6f1c2a40-5d0e-4b7b-9c55-0a4f5a3f1e01"
PATIENT = Patient(
    id="0000123", issuer="Example Hospital", family="Example", given="Erika", birth_date="1961-04-05", sex="female"
)


def key_frame(index: int, polyps: bool = True) -> tuple[KeyFrame, bytes]:
    """Frame `index` as a box keeps it: the field alone, and where in it the largest polyp is."""
    shown = simulate.picture(index, polyps)
    return simulate.key_frame(shown, index * 10.0), shown.jpeg


def example() -> tuple[Record, dict[str, bytes]]:
    """A record and its key frames by sha256. Drawn once a process."""
    record, frames = _example()
    return record, dict(frames)


@functools.cache
def _example() -> tuple[Record, dict[str, bytes]]:
    made = [key_frame(simulate.TURN, polyps=False), *(key_frame(index) for index in SHOWN)]
    turn, *shown = (kept for kept, _ in made)
    record = Record(
        procedure=PROCEDURE,
        revision=1,
        state="ended",
        heading=simulate.heading(DEVICE, datetime.datetime(2026, 3, 2, 9, 30, tzinfo=datetime.timezone.utc)),
        times=Times(
            duration_s=892.4,
            insertion_s=401.2,
            withdrawal_s=491.2,
            withdrawal_poor_s=31.0,
            view_s={"good": 803.1, "poor: blur": 89.3},
        ),
        landmarks=(Landmark(id="L1", kind="caecum", first_seen_s=turn.at_s, best_score=0.94, key_frame=turn),),
        findings=tuple(_finding(number, *one) for number, one in enumerate(zip(SHOWN, shown, strict=True), start=1)),
        judgements=(
            Judgement(
                id="J1",
                kind="preparation",
                label="adequate",
                views=5210,
                unsure=301,
                shares={"adequate": 0.93, "inadequate": 0.07},
            ),
        ),
        not_recorded=simulate.NOT_RECORDED,
    )
    return record, {kept.sha256: jpeg for kept, jpeg in made}


def _finding(number: int, index: int, kept: KeyFrame) -> Finding:
    return simulate.finding(number, index, kept, "withdrawal" if kept.at_s >= simulate.TURN * 10 else "insertion")


def draft() -> Report:
    """What a template might say of it."""
    said: list[tuple[str, str, tuple[str, ...]]] = [
        ("procedure", "The procedure took 14 min 52 s.", ("T1",)),
        ("procedure", "Insertion took 6 min 41 s, withdrawal 8 min 11 s.", ("T1",)),
        ("quality", "The view was good for 13 min 23 s; for 1 min 29 s it was blurred.", ("T1",)),
        ("quality", "The preparation was judged adequate in 93 % of 5210 views.", ("J1",)),
        ("landmarks", "The caecum was seen at 6 min 40 s.", ("L1",)),
        ("findings", "A possible polyp was seen from 1 min 46 s to 1 min 57 s.", ("F1",)),
        ("findings", "A possible polyp was seen from 2 min 56 s to 3 min 7 s.", ("F2",)),
        ("findings", "A possible polyp was seen from 7 min 46 s to 7 min 57 s.", ("F3",)),
        ("not_recorded", "Sizes, histology, sites and treatment were not recorded by the box.", ()),
    ]
    sentences = [
        {"id": f"S{number}", "section": section, "text": text, "cites": cites, "by": "template"}
        for number, (section, text, cites) in enumerate(said, start=1)
    ]
    return Report(
        device=DEVICE,
        procedure=PROCEDURE,
        revision=1,
        language="en",
        state="draft",
        drafted=Drafted(by="template"),
        sentences=msgspec.convert(sentences, tuple[Sentence, ...]),
    )


def signed() -> Report:
    """The draft after a person: one mark refused, two sentences added."""
    report = draft()
    kept = [
        msgspec.structs.replace(one, struck="a fold, no polyp") if "F1" in one.cites else one
        for one in report.sentences
    ]
    summary = "Two polyps were removed; the mark at 1 min 46 s was a fold."
    added = [
        Sentence(
            id="S10",
            section="findings",
            text="Removed by cold snare.",
            cites=("F2", "F3"),
            by="person",
            author="E. Test",
        ),
        Sentence(id="S11", section="summary", text=summary, by="person", author="E. Test"),
    ]
    signature = Signature(account="etest", name="Dr. Eva Test", at="2026-03-02T10:05:11Z")
    return msgspec.structs.replace(report, state="final", sentences=(*kept, *added), signatures=(signature,))


def _hers(number: str, section: Section, text: str, cites: tuple[str, ...]) -> Sentence:
    return Sentence(id=number, section=section, text=text, cites=cites, by="person", author="E. Test")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder: Path = parser.parse_args(arguments).folder
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    record, frames = example()
    for name, value in {"record": record, "report": signed(), "draft": draft(), "patient": PATIENT}.items():
        text = msgspec.json.format(msgspec.json.encode(value), indent=1)
        (folder / f"{name}.json").write_bytes(text)
    for digest, jpeg in frames.items():
        (folder / "frames" / f"{digest}.jpg").write_bytes(jpeg)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
