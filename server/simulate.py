"""Plays boxes: procedures in the software colon, nobody's pictures, handed over to a report server as a box does it.

    python -m server.simulate URL CODE --device phantom-1 --procedures 20

`procedure(device, number, seed)` is the same for the same arguments, for ever, and another one for others. Its pictures
are few and drawn once; each is marked, so that every procedure has key frames of its own.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import hashlib
import math
import random
import ssl
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid5

import cv2
import msgspec
import numpy as np

from edge.decide.tracks import worth
from edge.errors import EdgeError, UsageError
from edge.phantom import PolypTruth, Script, frame
from edge.procedure import Finding, Heading, Interruption, Judgement, KeyFrame, Landmark, Made, Phase, Record, Times
from edge.uplink.config import ReportsConfig
from edge.uplink.handover import Aside, Later, Named, Post, Put, Sent, Upload
from edge.uplink.report_http import LinkError, ReportServer
from server.errors import ServerError

SCRIPT = Script(seed=3, fps=1, seconds=90, passages=False)
PASSING = Script(seed=3, fps=10, seconds=90, passages=False, width=320, height=256)  # the same, for scores over time
SLOWER = 5  # a second of the script is so many of a finding's
POLYPS = (11, 18, 47, 30, 60, 71, 77)  # frames of it with a polyp in full view
TURN = 40  # a frame for the landmark
BEFORE_S, AFTER_S = 4.0, 7.5  # of a finding, around its best view
FINDINGS_MOST = 40
NOT_RECORDED = {
    "size": "the box does not measure sizes",
    "histology": "the box does not judge histology",
    "site": "the box does not know in which part of the bowel it is, but for landmarks",
    "treatment": "the box does not see what was done",
    "instruments": "this pipeline has no head that sees instruments",
}
_NAMES = UUID("d1f7b1f0-0d4e-5b53-8f8e-6a1f7f6f2a11")
_FIRST_DAY = datetime.datetime(2026, 3, 2, 7, 30, tzinfo=datetime.timezone.utc)


class Played(NamedTuple):
    record: Record
    frames: Mapping[str, bytes]  # JPEGs by sha256


# ------------------------------------------------------------------------------------------------ pictures


class Picture(NamedTuple):
    """Of the field alone, as a box keeps it."""

    jpeg: bytes
    width: int
    height: int
    box: tuple[float, float, float, float] | None  # of the largest polyp, px


@functools.cache
def picture(index: int, polyps: bool = True) -> Picture:
    """Frame `index` of the script."""
    rgb, truth = frame(SCRIPT, index)
    outline = np.array(truth.field, np.int32)
    x, y, width, height = cv2.boundingRect(outline)
    inside = cv2.fillConvexPoly(np.zeros(rgb.shape[:2], np.uint8), outline, 1)
    field = (rgb * inside[..., None])[y : y + height, x : x + width]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(field, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    polyp = max(truth.polyps, key=lambda polyp: polyp.area) if polyps else None
    return Picture(encoded.tobytes(), width, height, None if polyp is None else _box(polyp, x, y))


def _box(polyp: PolypTruth, x: int, y: int) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = polyp.box
    return float(x0 - x), float(y0 - y), float(x1 - x), float(y1 - y)


def key_frame(shown: Picture, at_s: float, jpeg: bytes = b"") -> KeyFrame:
    """`jpeg`: a copy of it with a mark."""
    content = jpeg or shown.jpeg
    digest = hashlib.sha256(content).hexdigest()
    size = {"size": len(content), "width": shown.width, "height": shown.height}
    return KeyFrame(sha256=digest, at_s=at_s, box=shown.box, **size)


def marked(jpeg: bytes, text: str) -> bytes:
    """The same picture, with a comment (ITU-T T.81, B.2.4.5): another file."""
    comment = text.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


@functools.cache
def scores(index: int) -> tuple[float, ...]:
    """Each second's of that frame's polyp, by a model that is the surer, the more of it is in the picture and the
    nearer it is: from the phantom's truth."""
    polyp = max(frame(SCRIPT, index)[1].polyps, key=lambda polyp: polyp.area).id
    found = []
    for second in range(math.ceil(BEFORE_S + AFTER_S)):
        at = index + (second + 0.5 - BEFORE_S) / SLOWER
        seen = next((one for one in frame(PASSING, round(at * PASSING.fps))[1].polyps if one.id == polyp), None)
        near = worth(1.0, None, seen.area / (PASSING.width * PASSING.height)) if seen else 0.0
        found.append(round(0.6 + 0.39 * seen.visible * near, 3) if seen else 0.0)
    return tuple(found)


def finding(number: int, index: int, kept: KeyFrame, phase: Phase) -> Finding:
    """Of that frame's polyp."""
    return Finding(
        id=f"F{number}",
        label="polyp",
        track=number,
        phase=phase,
        first_seen_s=kept.at_s - BEFORE_S,
        last_seen_s=kept.at_s + AFTER_S,
        best_seen_s=kept.at_s,
        frames=200 + number,
        best_score=max(scores(index)),
        alerted=True,
        scores=scores(index),
        scores_every_s=1.0,
        key_frame=kept,
    )


# ---------------------------------------------------------------------------------------------- procedures


def procedure(device: str, number: int = 1, seed: int = 1, findings: int | None = None) -> Played:
    """`findings`: so many, at most 40; None: as chance has it, none to five."""
    chance = random.Random(f"{seed}/{device}/{number}")
    id = str(uuid5(_NAMES, f"{seed}/{device}/{number}"))
    insertion_s, withdrawal_s = chance.uniform(240, 700), chance.uniform(300, 800)
    whole, reached = chance.random() < 0.95, chance.random() < 0.92
    count = min(chance.choice((0, 0, 1, 1, 2, 3, 5)) if findings is None else findings, FINDINGS_MOST)
    frames: dict[str, bytes] = {}

    def kept(index: int, at_s: float, polyps: bool = True) -> KeyFrame:
        shown = picture(index, polyps)
        jpeg = marked(shown.jpeg, f"phantom {id} at {at_s:.1f} s")
        made = key_frame(shown, at_s, jpeg)
        frames[made.sha256] = jpeg
        return made

    length_s = insertion_s + withdrawal_s
    times = sorted(round(chance.uniform(BEFORE_S, length_s - AFTER_S), 1) for _ in range(count))
    chosen = [chance.choice(POLYPS) for _ in range(count)]
    found = [
        finding(n, index, kept(index, at_s), _phase(at_s, insertion_s if reached else None))
        for n, (index, at_s) in enumerate(zip(chosen, times, strict=True), start=1)
    ]
    turn = Landmark(
        id="L1",
        kind="caecum",
        first_seen_s=round(insertion_s, 1),
        best_score=round(chance.uniform(0.8, 0.98), 3),
        key_frame=kept(TURN, round(insertion_s, 1), polyps=False),
    )
    poor_s, views = chance.uniform(0.02, 0.2) * length_s, chance.randint(3000, 9000)
    share = round(chance.uniform(0.7, 0.99), 2)
    record = Record(
        procedure=id,
        revision=1,
        state="ended" if whole else "interrupted",
        heading=heading(device, _FIRST_DAY + datetime.timedelta(minutes=47 * number), chance.random() < 0.95),
        times=Times(
            duration_s=round(length_s, 1),
            insertion_s=round(insertion_s, 1) if reached else None,
            withdrawal_s=round(withdrawal_s, 1) if reached else None,
            withdrawal_poor_s=round(poor_s * withdrawal_s / length_s, 1) if reached else None,
            view_s={"good": round(length_s - poor_s, 1), "poor: blur": round(poor_s, 1)},
        ),
        landmarks=(turn,) if reached else (),
        findings=tuple(found),
        judgements=(_preparation(share, views),),
        interruptions=_interruptions(chance, length_s),
        not_recorded=NOT_RECORDED | ({} if reached else {"withdrawal": "the caecum was not seen"}),
    )
    return Played(record, frames if reached else _without(frames, turn))


def _phase(at_s: float, turn_s: float | None) -> Phase:
    if turn_s is None:
        return ""
    return "insertion" if at_s < turn_s else "withdrawal"


def _without(frames: dict[str, bytes], turn: Landmark) -> dict[str, bytes]:
    assert turn.key_frame is not None
    return {sha256: jpeg for sha256, jpeg in frames.items() if sha256 != turn.key_frame.sha256}


def _preparation(share: float, views: int) -> Judgement:
    shares = {"adequate": share, "inadequate": round(1 - share, 2)}
    return Judgement(id="J1", kind="preparation", label="adequate", views=views, unsure=views // 20, shares=shares)


def _interruptions(chance: random.Random, length_s: float) -> tuple[Interruption, ...]:
    if chance.random() > 0.15:
        return ()
    from_s = round(chance.uniform(10, length_s - 40), 1)
    return (Interruption(id="I1", state="no_signal", from_s=from_s, to_s=round(from_s + chance.uniform(1, 30), 1)),)


def heading(device: str, started: datetime.datetime, trusted: bool = True) -> Heading:
    return Heading(
        device=device,
        boot="00000000-0000-0000-0000-000000000000",
        started_at=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        clock_trusted=trusted,
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
    )


# ----------------------------------------------------------------------------------------------- the boxes


class Box:
    """One box's way to a server: the code of a real one, without its pace. Used from one thread, as a context manager.
    Raises ServerError."""

    def __init__(self, url: str, device: str, token: str = "", ca: str = "") -> None:
        try:
            self._config = msgspec.convert({"url": url.rstrip("/"), "ca": ca}, ReportsConfig)
        except msgspec.ValidationError as exc:
            raise ServerError(
                f"{url!r}: expected a report server's address, like https://reports.example:8443"
            ) from exc
        self.device, self.token = device, token
        self._trusts = ssl.create_default_context(cafile=ca or None) if url.startswith("https:") else None
        self._server = self._link()

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    def enrol(self, code: str) -> str:
        """Its token."""
        try:
            answer, given = self._server.enrol(self.device, code)
        except LinkError as exc:
            raise ServerError(f"{self._config.url}: {exc}") from exc
        if answer.status != 201 or not given.token:
            raise ServerError(f"{self._config.url} answers {answer.status}: {answer.error}")
        self._server.__exit__()
        self.token = given.token
        self._server = self._link()
        return self.token

    def hand_over(self, played: Played) -> None:
        """Harmless again."""
        body = msgspec.json.encode(played.record)
        upload = Upload(Named.of(played.record), [one.sha256 for one in played.record.key_frames()])
        while isinstance(upload.next, Post | Put):
            wanted = upload.next
            try:
                if isinstance(wanted, Put):
                    answer = self._server.put(wanted.sha256, played.frames[wanted.sha256])
                else:
                    answer = self._server.post(body)
            except LinkError as exc:
                raise ServerError(f"{self._config.url}: {exc}") from exc
            upload.answered(answer)
        if isinstance(upload.next, Aside | Later):
            raise ServerError(f"procedure {played.record.procedure}: {self._config.url} {upload.next.reason}")
        assert isinstance(upload.next, Sent)

    def _link(self) -> ReportServer:
        return ReportServer(self._config, self._trusts, self.token, lambda _size: None)


def play(box: Box, numbers: Iterable[int], seed: int = 1) -> tuple[int, int]:
    """Procedures and key frames that were handed over. Raises ServerError."""
    procedures = pictures = 0
    for number in numbers:
        played = procedure(box.device, number, seed)
        box.hand_over(played)
        procedures, pictures = procedures + 1, pictures + len(played.frames)
    return procedures, pictures


# ------------------------------------------------------------------------------------------------- command


def main(arguments: list[str] | None = None) -> int:
    """0 done, 1 fault, 2 usage."""
    options = _parser().parse_args(arguments)
    try:
        _play(options)
    except EdgeError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server.simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", metavar="URL")
    parser.add_argument("code", metavar="CODE", nargs="?", default="", help="of `endoedge-server box code DEVICE`")
    parser.add_argument("--device", default="phantom-1", metavar="NAME")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="keep the token there; then no code is needed")
    parser.add_argument("--procedures", type=int, default=1, metavar="N")
    parser.add_argument("--first", type=int, default=1, metavar="N", help="number of the first one")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--ca", default="", metavar="FILE", help="PEM of who signed the server's certificate")
    return parser


def _play(options: argparse.Namespace) -> None:
    kept: Path | None = options.token_file
    try:
        token = kept.read_text().strip() if kept is not None and kept.is_file() else ""
        if not token and not options.code:
            raise UsageError("expected a CODE to enrol with, or --token-file with a token in it")
        began_s = time.monotonic()
        with Box(options.url, options.device, token, options.ca) as box:
            if not token:
                token = box.enrol(options.code)
                if kept is not None:
                    kept.touch(0o600)
                    kept.write_text(f"{token}\n")
            numbers = range(options.first, options.first + options.procedures)
            procedures, pictures = play(box, numbers, options.seed)
    except OSError as exc:
        raise ServerError(f"{exc.filename}: {exc.strerror}") from exc
    spent_s = time.monotonic() - began_s
    print(f"{options.device}: {procedures} procedures with {pictures} key frames taken in {spent_s:.1f} s")


if __name__ == "__main__":
    raise SystemExit(main())
