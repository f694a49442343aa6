"""Why each item is there: what the box measured, as rows for people. Pure; nothing here judges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from edge.procedure import Finding, Interruption, Judgement, KeyFrame, Landmark, Record, Times
from edge.types import Struct
from server.export.words import clock, term
from server.report import Report

_SIGNALS = {
    "no_signal": "no signal",
    "frozen": "the picture stood still",
    "black": "the picture was black",
    "device_gone": "the capture device was gone",
    "unstable": "the signal was not stable",
    "format_changed": "the picture's format changed",
    "unknown_layout": "the endoscope's picture was not found",
}


class Share(Struct, frozen=True, kw_only=True):
    label: str
    percent: float
    text: str


class Chart(Struct, frozen=True, kw_only=True):
    """Best score in each slot of time. Percent of height."""

    bars: tuple[float, ...]
    every_s: float
    from_s: float
    to_s: float
    text: str  # the same in words


class Fact(Struct, frozen=True, kw_only=True):
    id: str
    kind: str  # finding, landmark, judgement, interruption, times
    title: str
    at: str  # when, for people
    rows: tuple[tuple[str, str], ...]
    shares: tuple[Share, ...] = ()
    chart: Chart | None = None
    source: Finding | Landmark | None = None  # what its picture's caption is made of
    key_frame: KeyFrame | None = None
    said: tuple[str, ...] = ()  # sentences that cite it and stand


def facts(record: Record, report: Report | None) -> tuple[Fact, ...]:
    """In the order in which they happened; what holds for all of the procedure is first."""
    language = report.language if report is not None else "en"
    found = [
        _times(record.times, record),
        *(_judgement(one, language) for one in record.judgements),
        *(
            made
            for _, made in sorted(
                [
                    *((one.first_seen_s, _landmark(one, language)) for one in record.landmarks),
                    *((one.first_seen_s, _finding(one, record, language)) for one in record.findings),
                    *((one.from_s, _interruption(one)) for one in record.interruptions),
                ],
                key=lambda pair: pair[0],
            )
        ),
    ]
    return tuple(_with_said(fact, report) for fact in found)


def _with_said(fact: Fact, report: Report | None) -> Fact:
    standing = report.standing() if report is not None else ()
    said = tuple(one.id for one in standing if fact.id in one.cites)
    return replace(fact, said=said)


def _times(times: Times, record: Record) -> Fact:
    none = "not recorded"

    def told(seconds: float | None) -> str:
        return none if seconds is None else f"{clock(seconds)} min"

    rows = [("Duration", told(times.duration_s)), ("Insertion", told(times.insertion_s))]
    rows.append(("Withdrawal", told(times.withdrawal_s)))
    rows.append(("of it with an instrument", told(times.withdrawal_tool_s)))
    rows.append(("of it with a poor view", told(times.withdrawal_poor_s)))
    whole = sum(times.view_s.values()) or 1.0
    views = sorted(times.view_s.items(), key=lambda pair: -pair[1])
    shares = tuple(_share(view, 100 * seconds / whole, f"{clock(seconds)} min") for view, seconds in views)
    made = record.heading.made_by
    rows.append(("Seen by", f"{made.model} {made.model_version} {made.precision} ({made.model_sha256[:12]})"))
    rows.append(("Pipeline", f"{made.pipeline} ({made.pipeline_sha256[:12]}), {made.software}"))
    return Fact(id=times.id, kind="times", title="Times and view", at="", rows=tuple(rows), shares=shares)


def _finding(one: Finding, record: Record, language: str) -> Fact:
    spanned_s = max(0.0, one.last_seen_s - one.first_seen_s)
    made = record.heading.made_by
    rows = [
        ("Raised because", f"followed through {one.frames} frames, from {_span(one.first_seen_s, one.last_seen_s)}"),
        ("Best score", f"{one.best_score:.2f} at {clock(one.best_seen_s)}"),
        ("In view", f"{spanned_s:.1f} s" + (f", during {one.phase}" if one.phase else "")),
        ("Announced", "yes, while it was in view" if one.alerted else "no, it was recorded only"),
        ("Thresholds", f"not in the record; those of pipeline {made.pipeline} ({made.pipeline_sha256[:12]})"),
        ("Track", str(one.track)),
    ]
    return Fact(
        id=one.id,
        kind="finding",
        title=term(language, one.label),
        at=clock(max(0.0, one.first_seen_s)),
        rows=tuple(rows),
        chart=chart(one.scores, one.scores_every_s, one.first_seen_s),
        source=one,
        key_frame=one.key_frame,
    )


def chart(scores: tuple[float, ...], every_s: float, from_s: float) -> Chart | None:
    """None where the record has none."""
    if not scores or every_s <= 0:
        return None
    heights = tuple(round(100 * min(max(score, 0.0), 1.0), 1) for score in scores)
    best = max(range(len(scores)), key=scores.__getitem__)
    empty = sum(1 for score in scores if score <= 0)
    text = (
        f"Score over time: {len(scores)} slots of {every_s:g} s, best {scores[best]:.2f} "
        f"{best * every_s:g} s after it was first seen, not detected in {empty}"
    )
    return Chart(bars=heights, every_s=every_s, from_s=from_s, to_s=from_s + every_s * len(scores), text=text)


def _landmark(one: Landmark, language: str) -> Fact:
    rows = (("Reached at", clock(max(0.0, one.first_seen_s))), ("Best score", f"{one.best_score:.2f}"))
    return Fact(
        id=one.id,
        kind="landmark",
        title=term(language, one.kind),
        at=clock(max(0.0, one.first_seen_s)),
        rows=rows,
        source=one,
        key_frame=one.key_frame,
    )


def _judgement(one: Judgement, language: str) -> Fact:
    verdict = term(language, one.label) if one.label else "no verdict"
    rows = (("Verdict", verdict), ("Looked at", f"{one.views} good views, unsure in {one.unsure}"))
    ordered: Iterable[tuple[str, float]] = sorted(one.shares.items(), key=lambda pair: -pair[1])
    shares = tuple(_share(term(language, label), 100 * share, f"{100 * share:.0f} %") for label, share in ordered)
    title = term(language, one.kind).capitalize()
    return Fact(id=one.id, kind="judgement", title=title, at="", rows=rows, shares=shares)


def _interruption(one: Interruption) -> Fact:
    rows = (
        ("What", _SIGNALS.get(one.state, one.state.replace("_", " "))),
        ("From", _span(one.from_s, one.to_s)),
        ("So", "nothing was looked at in that time"),
    )
    return Fact(id=one.id, kind="interruption", title="No picture", at=clock(max(0.0, one.from_s)), rows=rows)


def _share(label: str, percent: float, text: str) -> Share:
    return Share(label=label, percent=round(min(max(percent, 0.0), 100.0), 2), text=text)


def _span(from_s: float, to_s: float) -> str:
    return f"{clock(max(0.0, from_s))} to {clock(max(0.0, from_s, to_s))}"


def pictures(found: Iterable[Fact]) -> Iterator[Fact]:
    return (fact for fact in found if fact.key_frame is not None)
