"""What happened in a procedure, as its record tells it. Grows with the rules' own events; pure."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from edge.decide.config import ProcedureConfig
from edge.decide.ladder import LADDER
from edge.decide.landmarks import score_of
from edge.decide.moment import Moment
from edge.decide.states import ViewGate
from edge.messages import (
    Alert,
    EffortChanged,
    Event,
    FindingEnded,
    Judged,
    LandmarkReached,
    ProcedureEnded,
    ProcedureStarted,
    SignalChanged,
    ViewChanged,
)
from edge.procedure import Finding, Heading, Interruption, Judgement, Landmark, Phase, Record, State, Times
from edge.types import Findings, Gap, SignalState, View

_S = 1_000_000_000
_T = TypeVar("_T")
TOOL_GAP_NS = 1_000_000_000  # an instrument that is not seen for so long has gone
KEPT_NS = 600 * _S  # how far back a procedure's start may be dated
MOST = 2000  # findings, and interruptions, of one procedure: a record stays below `edge.spooled.RECORD_MOST`
_BLIND = {rung.name for rung in LADDER if not rung.heads_every}
NEVER = {
    "size": "the box does not measure sizes",
    "histology": "the box does not judge histology",
    "site": "the box does not know in which part of the bowel it is, but for landmarks",
    "treatment": "the box does not see what was done",
}


class Span(NamedTuple):
    """From `first_ns` up to `last_ns`, media time."""

    first_ns: int
    last_ns: int

    @property
    def ns(self) -> int:
        return max(0, self.last_ns - self.first_ns)

    def within(self, other: Span) -> Span:
        return Span(max(self.first_ns, other.first_ns), min(self.last_ns, other.last_ns))


class _Spell(NamedTuple):
    """The believed view, or the effort, from `since_ns` on, until the next spell begins."""

    since_ns: int
    words: str
    view: View | None = None


class Chronicle:
    """At most one procedure at a time; `procedure` is "" before the first. Owner: the rules."""

    def __init__(self, config: ProcedureConfig) -> None:
        self._config = config
        self._spells: list[_Spell] = [_Spell(-KEPT_NS, View.BLACK.value, View.BLACK)]
        self._efforts: list[_Spell] = [_Spell(-KEPT_NS, LADDER[0].name)]
        self._tools: list[Span] = []
        self._lost: _Spell | None = None  # no picture; its words are the signal's state
        self._begin(ProcedureStarted(procedure="", captured_ns=0, media_ns=0))

    def _begin(self, event: ProcedureStarted) -> None:
        self.procedure = event.procedure
        self.captured_ns = event.captured_ns  # when the start was noticed: it may be dated back
        self.started_ns = self._now_ns = event.media_ns
        self.ended = False
        self._landmarks: list[LandmarkReached] = []
        self._findings: list[FindingEnded] = []
        self._judged: list[Judged] = []
        self._interruptions: list[tuple[str, Span]] = []
        self._alerted: set[int] = set()
        self._beyond: dict[str, int] = {}  # what there were more than MOST of

    def step(self, at: Moment, item: Findings | Gap | None, events: Sequence[Event], view: ViewGate) -> None:
        """One moment and what followed from it. None: the stream is over."""
        for event in events:
            self._hear(event, view)
        if isinstance(item, Findings) and self._config.tool is not None and not item.spared:
            head, label, score = self._config.tool.head, self._config.tool.label, self._config.tool.score
            if score_of(item.classifications, head, label) >= score:
                self._see_tool(at.ns)
        if self.procedure and not self.ended:
            self._now_ns = at.ns
        else:
            self._forget(at.ns - KEPT_NS)

    @property
    def findings(self) -> Sequence[FindingEnded]:
        """Of this procedure, in the order in which they ended."""
        return self._findings

    def copy(self) -> Chronicle:
        """As it is now: another thread may tell its record."""
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (list, set, dict)):
                setattr(twin, name, value.copy())
        return twin

    def _hear(self, event: Event, view: ViewGate) -> None:
        if isinstance(event, ViewChanged):
            since_ns = view.since_ns if view.since_ns is not None else event.media_ns
            words = f"{event.view.value}: {event.reason}" if event.reason else event.view.value
            self._spells.append(_Spell(max(since_ns, self._spells[-1].since_ns), words, event.view))
        elif isinstance(event, EffortChanged):
            self._efforts.append(_Spell(event.media_ns, event.effort))
        elif isinstance(event, SignalChanged):
            self._hear_signal(event)
        elif isinstance(event, ProcedureStarted):
            self._begin(event)
        elif isinstance(event, LandmarkReached):
            self._landmarks.append(event)
        elif isinstance(event, FindingEnded):
            self._keep(self._findings, event, "findings")
        elif isinstance(event, Judged):
            self._judged.append(event)
        elif isinstance(event, Alert) and event.track:
            self._alerted.add(event.track)
        elif isinstance(event, ProcedureEnded):
            self._now_ns, self.ended = event.media_ns, True

    def _hear_signal(self, event: SignalChanged) -> None:
        if self._lost is not None and self.procedure and not self.ended:
            lost = self._lost.words, Span(self._lost.since_ns, event.media_ns)
            self._keep(self._interruptions, lost, "interruptions")
        live = event.state is SignalState.LIVE
        self._lost = None if live else _Spell(event.media_ns, event.state.value)

    def _keep(self, kept: list[_T], one: _T, what: str) -> None:
        if len(kept) < MOST:
            kept.append(one)
        else:
            self._beyond[what] = self._beyond.get(what, 0) + 1

    def _see_tool(self, ns: int) -> None:
        if self._tools and ns - self._tools[-1].last_ns <= TOOL_GAP_NS:
            self._tools[-1] = Span(self._tools[-1].first_ns, ns)
        else:
            self._tools.append(Span(ns, ns))

    def _forget(self, before_ns: int) -> None:
        for spells in (self._spells, self._efforts):
            while len(spells) > 1 and spells[1].since_ns < before_ns:
                del spells[0]
        while self._tools and self._tools[0].last_ns < before_ns:
            del self._tools[0]

    # ------------------------------------------------------------------------------------------ the record

    def record(self, heading: Heading, state: State, revision: int = 1) -> Record:
        """All that is known by now of the procedure that goes on, or of the last one. Without key frames."""
        whole, turn_ns = Span(self.started_ns, self._now_ns), self._turn_ns()
        return Record(
            procedure=self.procedure,
            revision=revision,
            state=state,
            heading=heading,
            times=self._times(whole, turn_ns),
            landmarks=tuple(
                Landmark(
                    id=f"L{number}",
                    kind=event.kind,
                    first_seen_s=self._s(event.first_seen_ns),
                    best_score=round(event.best_score, 4),
                )
                for number, event in enumerate(self._landmarks, start=1)
            ),
            findings=tuple(self._finding(event, turn_ns) for event in self._findings),
            judgements=tuple(
                Judgement(
                    id=f"J{number}",
                    kind=event.kind,
                    label=event.label,
                    views=event.views,
                    unsure=event.unsure,
                    shares={label: round(share, 4) for label, share in event.shares.items()},
                )
                for number, event in enumerate(self._judged, start=1)
            ),
            interruptions=tuple(self._interrupted(whole)),
            not_recorded=NEVER | self._unknown(whole, turn_ns) | self._left_out(),
        )

    def _finding(self, event: FindingEnded, turn_ns: int | None) -> Finding:
        phase: Phase = ""
        if turn_ns is not None:
            phase = "withdrawal" if event.first_seen_ns >= turn_ns else "insertion"
        return Finding(
            id=f"F{event.track}",
            label=event.label,
            track=event.track,
            phase=phase,
            first_seen_s=self._s(event.first_seen_ns),
            last_seen_s=self._s(event.media_ns),
            best_seen_s=self._s(event.best_seen_ns),
            frames=event.frames,
            best_score=round(event.best_score, 4),
            alerted=event.track in self._alerted,
            scores=event.scores,
            scores_every_s=_round(event.scores_every_ns),
        )

    def _interrupted(self, whole: Span) -> Iterator[Interruption]:
        """Those that have ended, and the one that goes on."""
        going_on = [(self._lost.words, Span(self._lost.since_ns, whole.last_ns))] if self._lost else []
        parts = [(words, span.within(whole)) for words, span in self._interruptions + going_on]
        for number, (words, part) in enumerate(((words, part) for words, part in parts if part.ns), start=1):
            yield Interruption(id=f"I{number}", state=words, from_s=self._s(part.first_ns), to_s=self._s(part.last_ns))

    def _turn_ns(self) -> int | None:
        """When the endoscope turned back."""
        return next((event.first_seen_ns for event in self._landmarks if event.kind == self._config.turn), None)

    def _times(self, whole: Span, turn_ns: int | None) -> Times:
        views, efforts = _sums(_parts(self._spells, whole)), _sums(_parts(self._efforts, whole))
        times = Times(duration_s=_round(whole.ns), view_s=views, effort_s=efforts)
        if turn_ns is None:
            return times
        back = Span(turn_ns, whole.last_ns)
        tools = [part for span in self._tools if (part := span.within(back)).ns]
        poor = [part for spell, part in _parts(self._spells, back) if spell.view is not View.GOOD]
        without = sum(part.ns for part in poor) - _shared_ns(poor, tools)
        return msgspec.structs.replace(
            times,
            insertion_s=_round(turn_ns - whole.first_ns),
            withdrawal_s=_round(back.ns),
            withdrawal_tool_s=_round(sum(tool.ns for tool in tools)) if self._config.tool else None,
            withdrawal_poor_s=_round(without),
        )

    def _unknown(self, whole: Span, turn_ns: int | None) -> dict[str, str]:
        missing: dict[str, str] = {}
        if not self._config.turn:
            missing["withdrawal"] = "this pipeline names no landmark at which the endoscope turns back"
        elif turn_ns is None:
            missing["withdrawal"] = f"the {self._config.turn} was not seen"
        if self._config.tool is None:
            missing["instruments"] = "this pipeline has no head that sees instruments"
        blind_ns = sum(part.ns for spell, part in _parts(self._efforts, whole) if spell.words in _BLIND)
        if blind_ns:
            missing["landmarks"] = f"for {_round(blind_ns):.0f} s the box spared its board and did not look for them"
        return missing

    def _left_out(self) -> dict[str, str]:
        return {what: f"{more} more, after the first {MOST}" for what, more in sorted(self._beyond.items())}

    def _s(self, ns: int) -> float:
        return _round(ns - self.started_ns)


def _parts(spells: Sequence[_Spell], of: Span) -> Iterator[tuple[_Spell, Span]]:
    """Each spell's share of it."""
    ends = [spell.since_ns for spell in spells[1:]] + [of.last_ns]
    for spell, end_ns in zip(spells, ends, strict=True):
        part = Span(spell.since_ns, end_ns).within(of)
        if part.ns:
            yield spell, part


def _sums(parts: Iterable[tuple[_Spell, Span]]) -> dict[str, float]:
    """By words, in seconds."""
    sums: dict[str, int] = {}
    for spell, part in parts:
        sums[spell.words] = sums.get(spell.words, 0) + part.ns
    return {words: _round(ns) for words, ns in sorted(sums.items())}


def _shared_ns(first: Sequence[Span], second: Sequence[Span]) -> int:
    """How much lies in both; each is in order and does not overlap itself."""
    shared_ns = one = other = 0
    while one < len(first) and other < len(second):
        shared_ns += first[one].within(second[other]).ns
        if first[one].last_ns < second[other].last_ns:
            one += 1
        else:
            other += 1
    return shared_ns


def _round(ns: int) -> float:
    return round(ns / 1e9, 3)
