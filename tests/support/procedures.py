"""Procedures in a spool, as a core leaves them."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import msgspec

from edge.procedure import Finding, Heading, KeyFrame, Landmark, Made, Record, Times

MADE = Made(
    software="1", model="m", model_version="1", model_sha256="", precision="int8", pipeline="p", pipeline_sha256=""
)
HEADING = Heading(
    device="box-1", boot="b", started_at="2026-01-01T00:00:00Z", clock_trusted=False, started_ns=5, made_by=MADE
)


def jpeg(seed: int | str, size: int = 2000) -> bytes:
    """What begins and ends like one."""
    return b"\xff\xd8\xff" + random.Random(seed).randbytes(size) + b"\xff\xd9"


def record(name: str, frames: list[bytes] = [], **more: Any) -> Record:  # noqa: B006
    """A landmark with the first of the pictures, and a finding with each other."""
    shown = [
        KeyFrame(sha256=hashlib.sha256(one).hexdigest(), size=len(one), width=4, height=3, at_s=1.0) for one in frames
    ]
    landmarks = [
        Landmark(id=f"L{n}", kind="caecum", first_seen_s=1.0, best_score=0.9, key_frame=frame)
        for n, frame in enumerate(shown[:1], start=1)
    ]
    findings = [
        Finding(
            id=f"F{n}", label="polyp", track=n, phase="", first_seen_s=1.0, last_seen_s=2.0, best_seen_s=1.5, frames=9,
            best_score=0.9, alerted=True, key_frame=frame,
        )
        for n, frame in enumerate(shown[1:], start=1)
    ]  # fmt: skip
    whole: dict[str, Any] = {
        "procedure": name,
        "revision": 1,
        "state": "ended",
        "heading": HEADING,
        "times": Times(duration_s=600.0, view_s={"good": 600.0}),
        "landmarks": tuple(landmarks),
        "findings": tuple(findings),
        "not_recorded": {},
    }
    return Record(**whole | more)


def lay(spool: Path, name: str, *, frames: int = 3, size: int = 2000, **more: Any) -> list[bytes]:
    """A procedure's folder. Returns its pictures, the landmark's first."""
    pictures = [jpeg(f"{name} {number}", size) for number in range(frames)]
    folder = spool / name
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        stem = f"polyp-{number:04d}" if number else "landmark-caecum"
        (folder / f"{stem}.jpg").write_bytes(picture)
        (folder / f"{stem}.json").write_text("{}")
    (folder / "record.json").write_bytes(msgspec.json.encode(record(name, pictures, **more)))
    return pictures
