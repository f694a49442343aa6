"""What a report is worth, held against its record: facts told, claims without support, items left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edge.procedure import Record
from server.report import Report
from server.words import grounds, values
from server.words.check import Check
from server.words.checklist import Lists


@dataclass
class Figures:
    """Sums over reports."""

    reports: int = 0
    facts: int = 0  # that the records hold
    told: int = 0  # of them, in a standing sentence
    claims: int = 0  # of standing sentences
    said: int = 0  # sentences that a machine wrote, before the check
    unsupported: int = 0  # of them, what the check struck
    standing: int = 0  # sentences after the check
    false: int = 0  # of them, what does not hold
    omitted: int = 0  # items of the list that are neither filled nor said to be missing
    asked: int = 0  # calls of a model
    fallbacks: Counter[str] = field(default_factory=Counter)
    edits: list[float] = field(default_factory=list)  # draft → signed, share of words changed

    def add(self, record: Record, report: Report, lists: Lists) -> None:
        check = Check(record, lists, report.language)
        stands = [check.sentence(one.text, one.cites) for one in report.standing() if one.by != "person"]
        claimed = {claim for one in stands for claim in one.claims}
        held = set(facts(record))
        self.reports += 1
        self.facts += len(held)
        self.told += len(held & claimed)
        self.claims += len(claimed)
        self.standing += len(stands)
        self.false += sum(bool(one.struck) for one in stands)
        machine = [one for one in report.sentences if one.by == report.drafted.by]
        self.said += len(machine)
        self.unsupported += sum(bool(one.struck) for one in machine)
        self.omitted += len({f"missing.{item.key}" for item in lists.of(record).missing(record)} - claimed)
        if report.drafted.fallback:
            self.fallbacks[report.drafted.fallback] += 1

    def rates(self) -> dict[str, float | int | dict[str, int] | None]:
        """For people and for machines; None: nothing to divide by."""
        return {
            "reports": self.reports,
            "fact_recall": _share(self.told, self.facts),
            "fact_precision": _share(self.standing - self.false, self.standing),
            "unsupported_before": _share(self.unsupported, self.said),
            "unsupported_after": _share(self.false, self.standing),
            "omitted": self.omitted,
            "valid": _share(self.asked - sum(self.fallbacks.values()), self.asked),
            "fallbacks": dict(sorted(self.fallbacks.items())),
            "edit_distance": sum(self.edits) / len(self.edits) if self.edits else None,
        }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def facts(record: Record) -> Iterator[str]:
    """What a whole report tells, as claims; read from the record alone, not from a template."""
    times = record.times
    yield f"{times.id}.pipeline"
    for name, value in (
        ("duration", times.duration_s),
        ("insertion", times.insertion_s),
        ("withdrawal", times.withdrawal_s),
        ("tool", times.withdrawal_tool_s),
        ("poor", times.withdrawal_poor_s),
    ):
        if values.seconds(value) is not None:
            yield f"{times.id}.{name}"
    yield from (f"{times.id}.view.{name}" for name, value in times.view_s.items() if values.seconds(value) is not None)
    for name, value in times.effort_s.items():
        if value and name != "full" and values.seconds(value) is not None:
            yield f"{times.id}.effort.{name}"
    if values.started(record.heading.started_at, record.heading.clock_trusted):
        yield f"{times.id}.started"
    for landmark in record.landmarks:
        yield f"{landmark.id}.kind"
    for finding in record.findings:
        yield from (f"{finding.id}.label", f"{finding.id}.alerted")
        if finding.phase:
            yield f"{finding.id}.phase"
    for judgement in record.judgements:
        yield f"{judgement.id}.verdict"
    for interruption in record.interruptions:
        yield f"{interruption.id}.state"
    numbers = ("from", "to", "best", "score", "at", "views", "unsure")
    for one in (*map(grounds.of_landmark, record.landmarks), *map(grounds.of_finding, record.findings)):
        yield from (value.claim for value in one if value.claim.rpartition(".")[2] in numbers)


def distance(draft: Report, signed: Report) -> float:
    """Words inserted, removed or changed from what the draft said to what was signed, for each word of the longer."""
    first, second = _words(draft), _words(signed)
    longer = max(len(first), len(second))
    return _edits(first, second) / longer if longer else 0.0


def _words(report: Report) -> list[str]:
    return [word for sentence in report.standing() for word in sentence.text.split()]


def _edits(first: Sequence[str], second: Sequence[str]) -> int:
    """Levenshtein's distance."""
    row = list(range(len(second) + 1))
    for number, one in enumerate(first, start=1):
        above, row[0] = row[0], number
        for at, other in enumerate(second, start=1):
            above, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, above + (one != other))
    return row[-1]
