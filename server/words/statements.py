"""Words that claim something without a number: whether the cited facts bear them out."""

from __future__ import annotations

from collections.abc import Callable

from edge.procedure import Record
from server.words import values
from server.words.checklist import Checklist

Held = tuple[frozenset[str], frozenset[str]]
"""Claims, and the facts that they are of."""


class Statements:
    """Of one record."""

    def __init__(self, record: Record, checklist: Checklist) -> None:
        self._record = record
        self._whole: dict[str, bool] = {
            "clock_untrusted": not record.heading.clock_trusted,
            "date_unknown": not values.started(record.heading.started_at, record.heading.clock_trusted),
            "interrupted": record.state == "interrupted",
            "running": record.state == "running",
            "no_interruptions": not record.interruptions,
            "no_landmarks": not record.landmarks,
            "no_findings": not record.findings,
            "no_judgements": not record.judgements,
            "complete": not checklist.missing(record) and not record.not_recorded,
            "assists": True,
            "no_diagnosis": True,
            "clinician": True,
        }
        self._kinds: dict[str, Callable[[str, frozenset[str]], Held | None]] = {
            "landmark": self._landmark,
            "finding": self._finding,
            "judgement": self._judgement,
            "verdict": self._verdict,
            "signal": self._signal,
            "pipeline": self._pipeline,
            "statement": self._statement,
        }

    def holds(self, concept: str, cited: frozenset[str], *, consumed: bool) -> Held | None:
        """None: the cited facts do not say so. `consumed`: a number has said it."""
        kind, _, key = concept.partition(":")
        interrupted = concept == "topic:interruption" and any(one.id in cited for one in self._record.interruptions)
        if concept == "topic:procedure" or interrupted:
            return frozenset(), frozenset()
        if consumed and kind == "verdict":
            return self._verdict(key, cited) or (frozenset(), frozenset())
        found = self._kinds.get(kind)
        return found(key, cited) if found else None

    def _landmark(self, kind: str, cited: frozenset[str]) -> Held | None:
        return _held("kind", {one.id for one in self._record.landmarks if one.kind == kind} & cited)

    def _finding(self, label: str, cited: frozenset[str]) -> Held | None:
        return _held("label", {one.id for one in self._record.findings if one.label == label} & cited)

    def _judgement(self, kind: str, cited: frozenset[str]) -> Held | None:
        """Naming it claims nothing yet, nor is it spoken of."""
        there = any(one.kind == kind and one.id in cited for one in self._record.judgements)
        return (frozenset(), frozenset()) if there else None

    def _verdict(self, label: str, cited: frozenset[str]) -> Held | None:
        judged = [one for one in self._record.judgements if one.id in cited]
        same = bool(judged) and all(one.label == label for one in judged)
        return _held("verdict", {one.id for one in judged}) if same else None

    def _signal(self, state: str, cited: frozenset[str]) -> Held | None:
        cut = [one for one in self._record.interruptions if one.id in cited]
        same = bool(cut) and all(one.state == state for one in cut)
        return _held("state", {one.id for one in cut}) if same else None

    def _pipeline(self, name: str, cited: frozenset[str]) -> Held | None:
        times = self._record.times.id
        ours = name == self._record.heading.made_by.pipeline and times in cited
        return _held("pipeline", {times}) if ours else None

    def _statement(self, key: str, cited: frozenset[str]) -> Held | None:
        if key in self._whole:
            times = self._record.times.id
            if not self._whole[key] or times not in cited:
                return None
            return frozenset((key,)), frozenset((times,))
        if key == "no_verdict":
            judged = [one for one in self._record.judgements if one.id in cited]
            return _held("verdict", {one.id for one in judged}) if judged and not any(j.label for j in judged) else None
        seen = [one for one in self._record.findings if one.id in cited]
        same = bool(seen) and all(one.alerted == (key == "alerted") for one in seen)
        return _held("alerted", {one.id for one in seen}) if same else None


def _held(claim: str, facts: set[str]) -> Held | None:
    return (frozenset(f"{one}.{claim}" for one in facts), frozenset(facts)) if facts else None
