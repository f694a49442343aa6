"""Moving pictures: what the box would have said, at the shipped operating point and at all others.

The model runs once a frame. Its findings then go through the box's own rules again and again, with another
`start_score` and `confirm` each time, so the whole curve costs little more than its one point. A clip is judged as
`endoedge replay` judges it: every frame, on the clip's own time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, chi2

from calibration.eval.bootstrap import Figure, Resampler
from calibration.eval.runner import RUNTIME, Runner
from calibration.eval.segmentation import Report, flat
from calibration.eval.subjects import Case
from calibration.pictures import Picture
from edge.capture import field as fields
from edge.capture import file as file_source
from edge.cli.scoring import KnownClip, Scene, Score, score
from edge.decide.config import RulesConfig
from edge.decide.rules import Rules
from edge.errors import CaptureError
from edge.heads import Heads
from edge.messages import Event
from edge.phantom import VERSION, Header, PolypTruth, Script, Truth, read_truth
from edge.types import Box, Field, Findings, Frame, SignalState, View

START_SCORES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
CONFIRMS = (1, 3, 5, 7, 9)
NEXT_WITHIN_S = 5.0
FPS = 30.0  # of data sets that keep videos as pictures: REAL-Colon and SUN, 30 a second
PROBED = 12  # frames that a field is found from ...
PROBE_HEIGHT_PX = 256  # ... each so high, as the box's capture profiles have it

Progress = Callable[[int, int], None]


class Annotated(KnownClip):
    """A clip whose lesions people boxed: what they boxed can be seen, however small."""

    def seen(self, polyp: PolypTruth) -> bool:
        return polyp.visible > 0


NO_POLYPS = Annotated(Header(version=VERSION, script=Script(), field=()), ())


@dataclass(frozen=True)
class Watched:
    """One clip as one encoding saw it, and what is true of it."""

    findings: Sequence[Findings]
    truth: KnownClip


def truth_beside(video: Path) -> KnownClip:
    """The truth that the phantom wrote beside its clip: the same name, ending in .jsonl. Raises ConfigError."""
    return KnownClip(*read_truth(video.with_suffix(".jsonl")))


def watched(
    video: Path, runners: Mapping[str, Runner], heads: Heads, truth: KnownClip, progress: Progress
) -> dict[str, Watched]:
    """Every frame of a video file, cut to its field as the box cuts it. Raises CaptureError."""
    side = next(iter(runners.values())).side
    source = file_source.open(file_source.Config(path=str(video), rate="max"), (side, side))
    findings: dict[str, list[Findings]] = {name: [] for name in runners}
    try:
        while True:
            item = source.next(NEXT_WITHIN_S)
            if isinstance(item, Frame):
                image = np.ascontiguousarray(item.image)[None]
                for name, runner in runners.items():
                    findings[name].append(heads.decode(runner.infer(image), item))
                item.release()
                progress(source.stats().frames, source.expected_frames)
            elif item.final and item.state is SignalState.FAILED:
                raise CaptureError(item.detail)
            elif item.final:
                break
    finally:
        source.close()
    return {name: Watched(tuple(seen), truth) for name, seen in findings.items()}


def watched_frames(
    cases: Sequence[Case], runners: Mapping[str, Runner], heads: Heads, progress: Progress
) -> dict[str, Watched]:
    """The frames of one video that a data set keeps as pictures, with the lesions that people boxed in them.

    `Case.frame` counts frames at FPS. Where the data set does not say which lesion a box shows, a video shows one.
    """
    side = next(iter(runners.values())).side
    findings: dict[str, list[Findings]] = {name: [] for name in runners}
    identities: dict[str, int] = {}
    truths, field = [], None
    for place, case in enumerate(cases):
        picture = case.load().picture
        field = field or _field(cases)
        media_ns = round(case.frame * 1e9 / FPS)
        image = _cut(picture, field, side)
        frame = Frame(seq=place + 1, image=image, captured_ns=media_ns, media_ns=media_ns, field=field)
        for name, runner in runners.items():
            findings[name].append(heads.decode(runner.infer(image[None]), frame))
        lesions = case.lesions or ("",) * len(case.boxes or ())
        polyps = tuple(
            _boxed(identities.setdefault(lesion, len(identities) + 1), box)
            for lesion, box in zip(lesions, case.boxes or (), strict=True)
        )
        truths.append(Truth(frame=place, media_ns=media_ns, view=View.GOOD, polyps=polyps))
        progress(place + 1, len(cases))
    truth = Annotated(NO_POLYPS.header, tuple(truths))
    return {name: Watched(tuple(seen), truth) for name, seen in findings.items()}


def _boxed(identity: int, box: Box) -> PolypTruth:
    x0, y0, x1, y1 = (round(value) for value in box)
    return PolypTruth(id=identity, paris="", box=(x0, y0, x1, y1), visible=1.0, area=(x1 - x0) * (y1 - y0), runs=())


def _field(cases: Sequence[Case]) -> Field:
    """The endoscope's picture inside the tower's, found from a dozen frames as the box finds it."""
    pictures = [case.load().picture for case in cases[:: max(1, len(cases) // PROBED)][:PROBED]]
    height, width = pictures[0].shape[:2]
    size = (round(width * PROBE_HEIGHT_PX / height), PROBE_HEIGHT_PX)
    lumas = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA).mean(2).astype(np.uint8) for picture in pictures]
    lit = [luma for luma in lumas if luma.mean() > file_source.PROBE_LIT]
    return (fields.find(lit, width, height) if lit else None) or fields.whole(width, height)


def _cut(picture: Picture, field: Field, side: int) -> Picture:
    """The field at side x side, RGBA, black outside its outline: what the box hands to the model."""
    inside = picture[field.y : field.y + field.height, field.x : field.x + field.width]
    small = cv2.resize(inside, (side, side), interpolation=cv2.INTER_AREA)
    rgba = np.dstack([small, np.full((side, side), 255, np.uint8)])
    rgba[fields.keep_mask(field, side, side) == 0] = 0
    return rgba


def decided(clip: Watched, rules: RulesConfig) -> Score:
    """What the rules make of a clip, and how well that is."""
    judge = Rules(rules, run_id="eval")
    scenes: list[Scene] = []
    events: list[Event] = []
    for findings in clip.findings:
        said = judge.step(findings)
        scenes.append(Scene(moment=findings, events=tuple(said)))
        events += said
    if clip.findings:
        last = clip.findings[-1]
        events += judge.finish(last.captured_ns, last.media_ns)
    return score(scenes, events, clip.truth)


def at(rules: RulesConfig, start_score: float, confirm: int) -> RulesConfig:
    """The same rules at another operating point; the window grows where `confirm` needs it."""
    window = max(rules.tracks.window, confirm)
    tracks = msgspec.structs.replace(rules.tracks, start_score=start_score, confirm=confirm, window=window)
    return msgspec.structs.replace(rules, tracks=tracks)


def report(name: str, clips: Sequence[Watched], rules: RulesConfig) -> Report:
    """One encoding on one or more clips: the shipped operating point with intervals, and the curve behind it."""
    scores = [decided(clip, rules) for clip in clips]
    tracks = rules.tracks
    return {
        "runtime": RUNTIME[name],
        "frames": sum(len(clip.findings) for clip in clips),
        "operating_point": {"start_score": tracks.start_score, "confirm": tracks.confirm, "window": tracks.window},
        **_alerts(scores),
        **_lesions(scores),
        "curve": curve(clips, rules),
    }


def curve(clips: Sequence[Watched], rules: RulesConfig) -> list[Report]:
    """Alerts, lesions missed and delay at every operating point, the shipped one among them."""
    points = set(itertools.product(START_SCORES, CONFIRMS)) | {(rules.tracks.start_score, rules.tracks.confirm)}
    rows = []
    for start_score, confirm in sorted(points):
        scores = [decided(clip, at(rules, start_score, confirm)) for clip in clips]
        minutes, false = sum(s.minutes for s in scores), sum(s.false_alerts or 0 for s in scores)
        delays = [p.alert_delay_ms for s in scores for p in s.polyps if p.alert_delay_ms is not None]
        rows.append(
            {
                "start_score": start_score,
                "confirm": confirm,
                "false_alerts": false,
                "false_alerts_per_minute": round(false / minutes, 3) if minutes else None,
                "missed": sum(s.missed or 0 for s in scores),
                "median_alert_delay_ms": float(np.median(delays)) if delays else None,
            }
        )
    return rows


def per_minute(count: int, minutes: float) -> Figure:
    """A rate with its exact Poisson interval (Garwood 1936): drawing from a clip without alerts would show none."""
    if minutes <= 0:
        return Figure(None)
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return Figure(count / minutes, float(low) / minutes, float(chi2.ppf(0.975, 2 * count + 2)) / 2 / minutes)


def exact_share(count: int, of: int) -> Figure:
    """A share with its exact binomial interval (Clopper and Pearson 1934): lesions are few, and often all are found."""
    if not of:
        return Figure(None)
    low = float(beta.ppf(0.025, count, of - count + 1)) if count else 0.0
    return Figure(count / of, low, float(beta.ppf(0.975, count + 1, of - count)) if count < of else 1.0)


def _alerts(scores: Sequence[Score]) -> Report:
    minutes, false = sum(s.minutes for s in scores), sum(s.false_alerts or 0 for s in scores)
    return {
        "minutes": round(minutes, 4),
        "alerts": sum(s.alerts for s in scores),
        "false_alerts": false,
        **flat("false_alerts_per_minute", per_minute(false, minutes), 3),
    }


def _lesions(scores: Sequence[Score]) -> Report:
    """Delays count from the frame in which a lesion can first be seen; those never found have none."""
    polyps = [polyp for s in scores for polyp in s.polyps]
    draws = Resampler([str(n) for n in range(len(polyps))])
    missed = sum(polyp.alert_delay_ms is None for polyp in polyps)
    figures = {
        "first_detection_delay_ms": [p.detection_delay_ms for p in polyps],
        "alert_delay_ms": [p.alert_delay_ms for p in polyps],
    }
    medians = {
        key: value for name, delays in figures.items() for key, value in flat(name, _median(delays, draws), 1).items()
    }
    return {
        "lesions": len(polyps),
        "missed": missed,
        **flat("missed_share", exact_share(missed, len(polyps))),
        **medians,
    }


def _median(delays: Sequence[float | None], draws: Resampler) -> Figure:
    values = np.array([np.nan if delay is None else delay for delay in delays])
    if not np.isfinite(values).any():
        return Figure(None)

    known = np.isfinite(values)

    def figure(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn = [np.repeat(values[known], row[known].astype(np.intp)) for row in weights]
        return np.array([np.median(row) if row.size else np.nan for row in drawn])

    return draws.weighted(figure)
