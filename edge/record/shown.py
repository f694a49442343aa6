"""Key frames as they lie in a procedure's folder: what each shows, and whose it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from edge.procedure import Finding, KeyFrame, Landmark, Record
from edge.types import Box, Field, Struct


class Shown(Struct, frozen=True, kw_only=True):
    """`NAME.json`: what the picture and the film of this name show. Times as in the events, boxes in px."""

    device: str
    procedure: str
    kind: str  # "polyp", "caecum": the alert's, the finding's, the landmark's
    track: int  # 0 for a landmark
    score: float
    captured_ns: int
    media_ns: int
    width: int  # of the picture
    height: int
    box: Box | None  # in the picture
    source_box: Box | None  # in the tower's
    field: Field  # of the tower's picture


KEY_FRAME_OF = "key frame of"  # in `Record.not_recorded`
AtS = Callable[[Shown], float]
"""When a picture was taken, in seconds since its procedure's start."""


def of_track(kind: str, track: int) -> str:
    return f"{kind}-{track:04d}"


def of_landmark(kind: str) -> str:
    return f"landmark-{kind}"


def with_key_frames(record: Record, folder: Path, at_s: AtS) -> Record:
    """And those pictures in `folder` that show its findings and landmarks, as they are on the disk; where there is none
    the record says so. Raises OSError."""
    findings = tuple(
        msgspec.structs.replace(one, key_frame=_first(_names_of(one.label, one.track, folder), folder, at_s))
        for one in record.findings
    )
    landmarks = tuple(
        msgspec.structs.replace(one, key_frame=_first([of_landmark(one.kind)], folder, at_s))
        for one in record.landmarks
    )
    facts: list[Landmark | Finding] = [*landmarks, *findings]
    without = {f"{KEY_FRAME_OF} {one.id}": "none was kept" for one in facts if one.key_frame is None}
    before = {what: why for what, why in record.not_recorded.items() if not what.startswith(KEY_FRAME_OF)}
    return msgspec.structs.replace(record, findings=findings, landmarks=landmarks, not_recorded=before | without)


def interrupted(record: Record, folder: Path) -> Record:
    """Of a run that did not see its end. Its own clock of the stream is gone; pictures have the machine's, too."""
    start_ns = record.heading.started_ns
    closed = msgspec.structs.replace(record, state="interrupted")
    return with_key_frames(closed, folder, lambda shown: (shown.captured_ns - start_ns) / 1e9)


def _names_of(label: str, track: int, folder: Path) -> Iterator[str]:
    """Its best view; else the one in which it was announced, whatever the alert calls it."""
    yield of_track(label, track)
    yield from sorted(path.stem for path in folder.glob(of_track("*", track) + ".json"))


def _first(names: Iterable[str], folder: Path, at_s: AtS) -> KeyFrame | None:
    """Of those that are there and whole: `NAME.json` is written last."""
    for name in names:
        try:
            shown = msgspec.json.decode((folder / f"{name}.json").read_bytes(), type=Shown)
            jpeg = (folder / f"{name}.jpg").read_bytes()
        except (FileNotFoundError, msgspec.DecodeError):
            continue
        return KeyFrame(
            sha256=hashlib.sha256(jpeg).hexdigest(),
            size=len(jpeg),
            width=shown.width,
            height=shown.height,
            at_s=round(max(0.0, at_s(shown)), 3),
            box=shown.box,
        )
    return None
