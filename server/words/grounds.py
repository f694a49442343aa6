"""What a record supports: each number that may be said of it with the words that must stand beside it, and which words
hold. Made once a record; the check asks it.

A *concept* is what a phrase of the lexicon stands for: `landmark:caecum`, `topic:withdrawal`. A *claim* is what a
sentence says of a fact: `F1.from`. Draft and answer are compared by their claims.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from edge.procedure import Finding, Interruption, Judgement, Landmark, Record
from server.words import values
from server.words.checklist import Checklist

INSERTION, WITHDRAWAL = "topic:insertion", "topic:withdrawal"
TIMED = frozenset((INSERTION, WITHDRAWAL))
PHASES = frozenset(("phase:insertion", "phase:withdrawal"))
NONE: frozenset[str] = frozenset()
Measure = Literal["time", "share", "score", "count", "date"]


class Value(NamedTuple):
    """A number of the record. `required` stand in its clause, `optional` may, no other concept."""

    claim: str
    facts: frozenset[str]  # all of them are to be cited
    measure: Measure
    number: float
    required: frozenset[str]
    optional: frozenset[str] = NONE
    roles: frozenset[str] = NONE  # of a time: what it is introduced by; "" and "for": how long
    near: str = ""  # a concept right beside the number
    text: str = ""  # of a date
    limits: tuple[int, ...] = ()  # seconds that rounding may not cross

    def is_said(self, number: float, step: float, whole: bool) -> bool:
        """Whether a person would call it that: rounded, or cut off."""
        if self.measure == "time" and step >= 3600:
            return abs(number - self.number) < 60
        if self.measure == "time":
            return _rounded(self.number, number, step) and all(
                (number < at) == (self.number < at) for at in self.limits
            )
        if self.measure == "share":
            exact = number not in (0.0, 100.0) or step < 0.001 or self.number in (0.0, 1.0)
            return exact and _rounded(self.number * 100, number, step)
        if self.measure == "score":
            return not whole and step <= 0.0100001 and _rounded(self.number, number, step)
        return whole and number == self.number


def _rounded(value: float, given: float, step: float) -> bool:
    units = value / step
    return any(abs(given / step - one) < 1e-6 for one in (math.floor(units + 1e-9), math.floor(units + 0.5)))


LENGTH = frozenset(("", "for"))


def every(record: Record, checklist: Checklist) -> Iterator[Value]:
    """All numbers of a record."""
    yield from _times(record, checklist)
    for landmark in record.landmarks:
        yield from of_landmark(landmark)
    for finding in record.findings:
        yield from of_finding(finding)
    yield from _counts(record)
    if hidden := more(record):
        yield Value(f"{record.times.id}.more", frozenset((record.times.id,)), "count", hidden, NONE, near="near:more")
    for judgement in record.judgements:
        yield from _judgement(judgement)
    for interruption in record.interruptions:
        yield from _interruption(interruption)


def more(record: Record) -> int:
    """How many facts a report does not list."""
    kinds = (record.landmarks, record.findings, record.judgements, record.interruptions, record.times.view_s)
    return sum(max(0, len(kind) - values.LISTED) for kind in kinds)


def _times(record: Record, checklist: Checklist) -> Iterator[Value]:
    times, heading = record.times, record.heading
    facts, procedure = frozenset((times.id,)), frozenset(("topic:procedure",))
    pipeline = frozenset((f"pipeline:{heading.made_by.pipeline}",))
    if when := values.started(heading.started_at, heading.clock_trusted):
        yield Value(f"{times.id}.started", facts, "date", 0, NONE, procedure | pipeline, text=when)
    back = frozenset((WITHDRAWAL,))
    limits = tuple(one.at_least_s for one in checklist.thresholds)
    for name, value, required in (
        ("duration", times.duration_s, procedure),
        ("insertion", times.insertion_s, frozenset((INSERTION,))),
        ("withdrawal", times.withdrawal_s, back),
        ("tool", times.withdrawal_tool_s, back | {"topic:tool"}),
        ("poor", times.withdrawal_poor_s, back | {"topic:poor"}),
        ("net", net(record), back | {"topic:net"}),
    ):
        number = values.seconds(value)
        if number is not None:
            yield Value(f"{times.id}.{name}", facts, "time", number, required, pipeline, LENGTH, limits=limits)
    for view, value in times.view_s.items():
        number = values.seconds(value)
        if number is not None:
            said = frozenset(("topic:view", f"view:{view}"))
            yield Value(f"{times.id}.view.{view}", facts, "time", number, said, roles=LENGTH)
    for rung, value in times.effort_s.items():
        number = values.seconds(value)
        if number is not None:
            said = frozenset(("topic:effort", f"effort:{rung}"))
            yield Value(f"{times.id}.effort.{rung}", facts, "time", number, said, roles=LENGTH)
    for threshold in thresholds(record, checklist):
        said = threshold.about | {"topic:list", "topic:below" if threshold.below else "topic:not_below"}
        yield Value(f"{times.id}.list.{threshold.of}", facts, "time", threshold.at_least_s, said, roles=LENGTH)


class Held(NamedTuple):
    """A list's threshold against a record."""

    of: str
    at_least_s: int
    value_s: float
    below: bool
    net: bool  # without the time with an instrument
    about: frozenset[str]


def thresholds(record: Record, checklist: Checklist) -> Iterator[Held]:
    for one in checklist.thresholds:
        less = net(record) if one.of == "withdrawal" else None
        whole = values.seconds(record.times.withdrawal_s if one.of == "withdrawal" else record.times.duration_s)
        value = whole if less is None else less
        if value is None:
            continue
        about = {"topic:procedure"} if one.of == "duration" else {WITHDRAWAL}
        about |= set() if less is None else {"topic:net"}
        yield Held(one.of, one.at_least_s, value, value < one.at_least_s, less is not None, frozenset(about))


def net(record: Record) -> float | None:
    """Withdrawal without the time with an instrument in view; None where either is not known."""
    whole, tool = values.seconds(record.times.withdrawal_s), values.seconds(record.times.withdrawal_tool_s)
    return None if whole is None or tool is None else max(0.0, whole - tool)


def of_landmark(landmark: Landmark) -> Iterator[Value]:
    facts, said = frozenset((landmark.id,)), frozenset((f"landmark:{landmark.kind}",))
    at, best = values.seconds(landmark.first_seen_s), values.share(landmark.best_score)
    if at is not None:
        roles = frozenset(("at", "from"))
        yield Value(f"{landmark.id}.at", facts, "time", at, said, roles=roles)
    if best is not None:
        yield Value(f"{landmark.id}.score", facts, "score", best, said, near="near:score")


def of_finding(finding: Finding) -> Iterator[Value]:
    facts, said = frozenset((finding.id,)), frozenset((f"finding:{finding.label}",))
    first, last = values.seconds(finding.first_seen_s), values.seconds(finding.last_seen_s)
    best = values.seconds(finding.best_seen_s)
    for name, number, roles in (
        ("from", first, ("from", "at")),
        ("to", last, ("to",)),
        ("best", best, ("best", "at")),
        ("length", None if first is None or last is None or last < first else last - first, ("", "for")),
    ):
        if number is not None:
            yield Value(f"{finding.id}.{name}", facts, "time", number, said, PHASES, frozenset(roles))
    if (score := values.share(finding.best_score)) is not None:
        yield Value(f"{finding.id}.score", facts, "score", score, said, PHASES, near="near:score")
    if (frames := values.count(finding.frames)) is not None:
        yield Value(f"{finding.id}.frames", facts, "count", frames, said, PHASES, near="near:frames")


def _counts(record: Record) -> Iterator[Value]:
    """How many there are of each label, and of each label in each phase. Whoever counts cites all that are counted."""
    for label in dict.fromkeys(finding.label for finding in record.findings):
        said = frozenset((f"finding:{label}",))
        all_of_it = [finding for finding in record.findings if finding.label == label]
        yield _count(f"count.{label}", all_of_it, said, f"finding:{label}")
        for phase in ("insertion", "withdrawal"):
            if of_phase := [finding for finding in all_of_it if finding.phase == phase]:
                yield _count(f"count.{label}.{phase}", of_phase, said | {f"phase:{phase}"}, f"finding:{label}")
    if record.interruptions:
        facts = frozenset(one.id for one in record.interruptions)
        number, said = len(record.interruptions), frozenset(("topic:interruption",))
        yield Value("count.interruptions", facts, "count", number, said, near="topic:interruption")


def _count(claim: str, findings: list[Finding], said: frozenset[str], near: str) -> Value:
    return Value(claim, frozenset(one.id for one in findings), "count", len(findings), said, near=near)


def _judgement(judgement: Judgement) -> Iterator[Value]:
    facts, said = frozenset((judgement.id,)), frozenset((f"judgement:{judgement.kind}",))
    for label, value in judgement.shares.items():
        share, verdict = values.share(value), frozenset((f"verdict:{label}",))
        if share is not None:
            yield Value(f"{judgement.id}.share.{label}", facts, "share", share, said | verdict)
    verdicts = frozenset(f"verdict:{label}" for label in judgement.shares)
    for name, value in (("views", judgement.views), ("unsure", judgement.unsure)):
        if (number := values.count(value)) is not None:
            yield Value(f"{judgement.id}.{name}", facts, "count", number, said, verdicts, near=f"near:{name}")


def _interruption(one: Interruption) -> Iterator[Value]:
    facts, said = frozenset((one.id,)), frozenset(("topic:interruption",))
    signal = frozenset((f"signal:{one.state}",))
    first, last = values.seconds(one.from_s), values.seconds(one.to_s)
    for name, number, roles in (
        ("from", first, ("from", "at")),
        ("to", last, ("to",)),
        ("length", None if first is None or last is None or last < first else last - first, ("", "for")),
    ):
        if number is not None:
            yield Value(f"{one.id}.{name}", facts, "time", number, said, signal, frozenset(roles))
