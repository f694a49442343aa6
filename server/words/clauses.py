"""Items → clauses: what each number stands beside. A clause without a subject goes on with the last one's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from edge.procedure import Record
from server.words.grounds import INSERTION, NONE, PHASES, WITHDRAWAL
from server.words.phrases import BREAK, PLAIN, Item, StruckError
from server.words.tokens import Token
from server.words.values import plain

_MAINS = ("landmark:", "finding:", "judgement:", "pipeline:")
_MAIN_TOPICS = {INSERTION, WITHDRAWAL, "topic:procedure", "topic:view", "topic:effort", "topic:interruption"}
_MARKERS = {
    "topic:view": "view",
    "topic:effort": "effort",
    "topic:interruption": "signal",
    "topic:procedure": "pipeline",
}  # whose words may follow in quotes


class Number(NamedTuple):
    token: Token
    role: str = ""  # what introduces it: "from", "at", ...; "" nothing
    near: str = ""  # the concept right beside it
    percent: bool = False


@dataclass
class Clause:
    concepts: set[str] = field(default_factory=set)
    numbers: list[Number] = field(default_factory=list)
    phases: frozenset[str] = NONE  # of a finding
    topics: frozenset[str] = NONE  # what its numbers are held against


class Reader:
    """Of one sentence."""

    def __init__(self, record: Record, cited: frozenset[str], joint: str) -> None:
        self._cited, self._joint = cited, joint
        self._labels = {
            "finding": {one.label for one in record.findings if one.id in cited},
            "landmark": {one.kind for one in record.landmarks if one.id in cited},
            "judgement": {one.kind for one in record.judgements if one.id in cited},
            "verdict": {label for one in record.judgements if one.id in cited for label in (one.label, *one.shares)},
            "signal": {one.state for one in record.interruptions if one.id in cited},
            "view": set(record.times.view_s) if record.times.id in cited else set(),
            "effort": set(record.times.effort_s) if record.times.id in cited else set(),
            "pipeline": {record.heading.made_by.pipeline} if record.times.id in cited else set(),
        }
        self._clause, self._role, self._near, self._marker = Clause(), "", "", ""
        self._listed = ""  # the role of a list of times: "at 1 min, 2 min and 3 min"
        self._bare = False  # the last item was a number that still lacks its noun
        self._plural: set[str] = set()
        self._mains: frozenset[str] = NONE
        self._announced: frozenset[str] = NONE  # "during withdrawal, ...": a phase before its finding

    @property
    def plural(self) -> frozenset[str]:
        """Findings that were spoken of in the plural."""
        return frozenset(self._plural)

    def clauses(self, items: list[Item]) -> list[Clause]:
        """Raises StruckError."""
        return list(self._clauses(items))

    def _clauses(self, items: list[Item]) -> Iterator[Clause]:
        for item in [*items, Item(Token("break", "."), (BREAK,))]:
            if BREAK in item.concepts:
                if item.token.word == self._joint and self._is_range():
                    self._role = "to"
                    continue
                yield self._finished()
                if item.token.text == ".":  # what follows has to say its own subject
                    self._mains = self._announced = NONE
            else:
                self._read(item)

    def _is_range(self) -> bool:
        """ "between 1 min and ...": the clause goes on."""
        return bool(self._clause.numbers) and self._clause.numbers[-1].role == "from"

    def _read(self, item: Item) -> None:
        token = item.token
        if item.concepts:
            self._concept(self._meant(item.concepts))
        elif token.kind == "percent":
            if not self._bare:
                raise StruckError("“%” without a number")
            self._clause.numbers[-1] = self._clause.numbers[-1]._replace(percent=True)
            self._bare = False
        elif token.kind == "quote":
            self._concept(self._quoted(token.text))
        elif token.kind == "id":
            if token.text not in self._cited:
                raise StruckError(f"it speaks of {token.text} and does not cite it")
        else:
            self._number(token)

    def _meant(self, concepts: tuple[str, ...]) -> str:
        """A word of several kinds is of the kind that was announced."""
        return next((one for one in concepts if one.partition(":")[0] == self._marker), concepts[0])

    def _number(self, token: Token) -> None:
        if self._bare:
            raise StruckError(f"“{token.text}” follows a number without a unit")
        timed = token.kind in ("time", "date")
        if token.kind == "time" and not self._role and not self._clause.concepts and not self._clause.numbers:
            self._role = self._listed
        self._listed = self._role if self._role in ("at", "best") else ""
        self._clause.numbers.append(Number(token, self._role if timed else "", "" if timed else self._near))
        self._bare = not timed and not self._near
        self._near, self._role = "", "" if timed else self._role

    def _concept(self, concept: str) -> None:
        kind, _, key = concept.partition(":")
        if kind == "findings":
            kind, concept = "finding", f"finding:{key}"
            self._plural.add(concept)
        if concept == PLAIN:
            return
        if kind == "marker":
            self._marker = key.removesuffix("s")
            return  # "3 possible findings “x”": the number still waits for its noun
        if kind == "role":
            self._role = key
        elif kind == "near":
            self._beside(concept)
        else:
            if self._bare and (kind == "finding" or concept == "topic:interruption"):
                self._clause.numbers[-1] = self._clause.numbers[-1]._replace(near=concept)
                self._bare = False
            self._clause.concepts.add(concept)
            self._marker = "verdict" if kind == "judgement" else _MARKERS.get(concept, self._marker)
        if self._bare:
            raise StruckError(f"“{self._clause.numbers[-1].token.text}” without a unit")

    def _beside(self, concept: str) -> None:
        if concept == "near:score":
            self._near = concept
        elif self._bare:
            self._clause.numbers[-1] = self._clause.numbers[-1]._replace(near=concept)
            self._bare = False
        else:
            raise StruckError(f"“{concept.partition(':')[2]}” without a number")

    def _quoted(self, text: str) -> str:
        for label in sorted(self._labels.get(self._marker, ())):
            if plain(label) == text:
                return f"{self._marker}:{label}"
        raise StruckError(f"“{text}” is quoted from no fact that it cites")

    def _finished(self) -> Clause:
        """With its topics. Raises StruckError for what still waits for a number or a noun."""
        clause = self._clause
        if self._bare:
            raise StruckError(f"“{clause.numbers[-1].token.text}” without a unit")
        if self._near:
            raise StruckError(f"“{self._near.partition(':')[2]}” without a number")
        own = {one for one in clause.concepts if one.startswith(_MAINS) or one in _MAIN_TOPICS}
        if len(own) > 1:
            own.discard("topic:procedure")
        if any(one.startswith("pipeline:") for one in own):
            own.add("topic:procedure")
        mains = frozenset(own) or self._mains
        phases = frozenset(clause.concepts & PHASES)
        clause.phases = phases | self._announced if any(one.startswith("finding:") for one in mains) else NONE
        modifiers = {one for one in clause.concepts if not (one.startswith(_MAINS) or one in _MAIN_TOPICS)}
        clause.topics = mains | clause.phases | {one for one in modifiers if not one.startswith("statement:")}
        clause.concepts |= clause.topics
        self._announced = phases if not mains and not clause.numbers else NONE
        timed = frozenset(f"topic:{one.partition(':')[2]}" for one in self._announced)  # "during withdrawal, 31 s ..."
        self._mains, self._clause, self._role = mains or timed, Clause(), ""
        return clause
