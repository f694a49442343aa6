#!/usr/bin/env python3
"""Write what `python -m server.export` takes, of a procedure in the software colon: nobody's pictures, nobody's name.

    python -m tools.export_example DIR
    python -m server.export --record DIR/record.json --report DIR/report.json --patient DIR/patient.json \\
        --frames DIR/frames --out DIR/out
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import math
from pathlib import Path

import cv2
import msgspec
import numpy as np

from edge.decide.tracks import worth
from edge.phantom import PolypTruth, Script, frame
from edge.procedure import Finding, Heading, Judgement, KeyFrame, Landmark, Made, Record, Times
from server.patient import Patient
from server.report import Drafted, Report, Section, Sentence, Signature

SCRIPT = Script(seed=3, fps=1, seconds=90, passages=False)
SHOWN = (11, 18, 47)  # frames of it with a polyp in full view
BEFORE_S, AFTER_S = 4.0, 7.5  # of a finding, around its best view
PASSING = Script(seed=3, fps=10, seconds=90, passages=False, width=320, height=256)  # the same, for scores over time
SLOWER = 5  # a second of the script is so many of a finding's
TURN = 40  # a frame for the landmark
DEVICE, PROCEDURE = "example-box", "6f1c2a40-5d0e-4b7b-9c55-0a4f5a3f1e01"
PATIENT = Patient(
    id="0000123", issuer="Example Hospital", family="Example", given="Erika", birth_date="1961-04-05", sex="female"
)


def key_frame(index: int, polyps: bool = True) -> tuple[KeyFrame, bytes]:
    """Frame `index` as a box keeps it: the field alone, and where in it the largest polyp is."""
    rgb, truth = frame(SCRIPT, index)
    outline = np.array(truth.field, np.int32)
    x, y, width, height = cv2.boundingRect(outline)
    inside = cv2.fillConvexPoly(np.zeros(rgb.shape[:2], np.uint8), outline, 1)
    field = (rgb * inside[..., None])[y : y + height, x : x + width]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(field, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    jpeg = encoded.tobytes()
    polyp = max(truth.polyps, key=lambda polyp: polyp.area) if polyps else None
    kept = KeyFrame(
        sha256=hashlib.sha256(jpeg).hexdigest(),
        size=len(jpeg),
        width=width,
        height=height,
        at_s=index * 10.0,
        box=None if polyp is None else _box(polyp, x, y),
    )
    return kept, jpeg


def _box(polyp: PolypTruth, x: int, y: int) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = polyp.box
    return float(x0 - x), float(y0 - y), float(x1 - x), float(y1 - y)


def example() -> tuple[Record, dict[str, bytes]]:
    """A record and its key frames by sha256. Drawn once a process."""
    record, frames = _example()
    return record, dict(frames)


@functools.cache
def _example() -> tuple[Record, dict[str, bytes]]:
    made = [key_frame(TURN, polyps=False), *(key_frame(index) for index in SHOWN)]
    turn, *shown = (kept for kept, _ in made)
    record = Record(
        procedure=PROCEDURE,
        revision=1,
        state="ended",
        heading=Heading(
            device=DEVICE,
            boot="00000000-0000-0000-0000-000000000000",
            started_at="2026-03-02T09:30:00Z",
            clock_trusted=True,
            started_ns=0,
            made_by=Made(
                software="endoedge 0.1.0",
                model="polyp-mobilenetv2-256",
                model_version="3",
                model_sha256=hashlib.sha256(b"model").hexdigest(),
                precision="int8",
                pipeline="colonoscopy",
                pipeline_sha256=hashlib.sha256(b"pipeline").hexdigest(),
            ),
        ),
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
        not_recorded={
            "size": "the box does not measure sizes",
            "histology": "the box does not judge histology",
            "site": "the box does not know in which part of the bowel it is, but for landmarks",
            "treatment": "the box does not see what was done",
            "instruments": "this pipeline has no head that sees instruments",
        },
    )
    return record, {kept.sha256: jpeg for kept, jpeg in made}


def _scores(index: int) -> tuple[float, ...]:
    """Each second's, by a model that is the surer, the more of the polyp is in the picture and the nearer it is: from
    the phantom's truth."""
    polyp = max(frame(SCRIPT, index)[1].polyps, key=lambda polyp: polyp.area).id
    scores = []
    for second in range(math.ceil(BEFORE_S + AFTER_S)):
        at = index + (second + 0.5 - BEFORE_S) / SLOWER
        seen = next((one for one in frame(PASSING, round(at * PASSING.fps))[1].polyps if one.id == polyp), None)
        near = worth(1.0, None, seen.area / (PASSING.width * PASSING.height)) if seen else 0.0
        scores.append(round(0.6 + 0.39 * seen.visible * near, 3) if seen else 0.0)
    return tuple(scores)


def _finding(number: int, index: int, kept: KeyFrame) -> Finding:
    scores = _scores(index)
    return Finding(
        id=f"F{number}",
        label="polyp",
        track=number,
        phase="withdrawal" if kept.at_s >= TURN * 10 else "insertion",
        first_seen_s=kept.at_s - BEFORE_S,
        last_seen_s=kept.at_s + AFTER_S,
        best_seen_s=kept.at_s,
        frames=200 + number,
        best_score=max(scores),
        alerted=True,
        scores=scores,
        scores_every_s=1.0,
        key_frame=kept,
    )


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
