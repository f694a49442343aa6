"""The grounding check: a sentence stands when every word of it is understood and everything it claims is in the facts
that it cites. What is not understood is struck out, not let pass.

It is strict rather than clever: a true sentence in words that the lexicon lacks falls, and the template's stands in
its place. It reads clause by clause; a number has to be its fact's, with that fact's words around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from edge.procedure import Record
from server.report import Section, Sentence
from server.words import lexicon as lexicons
from server.words.absent import Absent
from server.words.checklist import Lists
from server.words.clauses import Clause, Reader
from server.words.grounds import TIMED, Value, every
from server.words.phrases import StruckError, items, of_facts, words
from server.words.statements import Statements
from server.words.tokens import Token, tokens

TEXT_MOST = 600  # a `Sentence`'s
REASON_MOST = 200
_SECTIONS: tuple[tuple[str, Section], ...] = (  # what is in a claim → where it belongs; the first that fits
    (r"missing\.", "not_recorded"), (r"F\d|count\.(?!interruptions)|no_findings", "findings"),
    (r"L\d|no_landmarks", "landmarks"), (r"J\d|T\d+\.(view|list|net|effort)|no_judgements", "quality"),
    (r"assists|no_diagnosis|clinician|T\d+\.more", "summary"),
)  # fmt: skip


class Said(NamedTuple):
    """What a sentence claims, or why it is struck out."""

    claims: frozenset[str] = frozenset()
    struck: str = ""

    @property
    def section(self) -> Section:
        """Where it belongs by what it claims."""
        return next((to for like, to in _SECTIONS if any(re.match(like, one) for one in self.claims)), "procedure")


class Check:
    """Of one record in one language. Raises WordsError for a language without words."""

    def __init__(self, record: Record, lists: Lists, language: str) -> None:
        self._record, self._lexicon = record, lexicons.of(language)
        checklist = lists.of(record)
        self._ids, self._values = record.ids(), tuple(every(record, checklist))
        self._table, self._statements = of_facts(language), Statements(record, checklist)
        self._absent = Absent(record, checklist, language)
        self._missing = {words(form, self._lexicon) for form in self._lexicon.terms["topic"]["missing"]}

    def sentence(self, text: str, cites: Iterable[str]) -> Said:
        cited = frozenset(cites)
        try:
            return Said(self._claims(text, cited))
        except StruckError as why:
            return Said(struck="".join(sign if sign.isprintable() else "\ufffd" for sign in str(why))[:REASON_MOST])

    def _claims(self, text: str, cited: frozenset[str]) -> frozenset[str]:
        if not text.strip():
            raise StruckError("it is empty")
        if len(text) > TEXT_MOST:
            raise StruckError(f"it is longer than {TEXT_MOST} characters")
        if not cited:
            raise StruckError("it cites nothing")
        if foreign := sorted(cited - self._ids):
            raise StruckError(f"it cites {', '.join(foreign)}, not in the record")
        found = tokens(self._absent.quoted(text), self._lexicon)
        if self._is_missing(found):
            claims, used = self._absent.claims(found, cited)
        else:
            claims, used = self._facts(found, cited)
        if not claims:
            raise StruckError("it says nothing of the record")
        if unused := sorted(cited - used):
            raise StruckError(f"it cites {', '.join(unused)} and does not speak of it")
        return claims

    def _is_missing(self, found: list[Token]) -> bool:
        spoken = [token.word for token in found]
        return any(tuple(spoken[at : at + len(form)]) == form for form in self._missing for at in range(len(spoken)))

    def _facts(self, found: list[Token], cited: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
        """What it claims of which facts."""
        reader = Reader(self._record, cited, self._lexicon.breaks[0])
        clauses = reader.clauses(list(items(found, self._table, self._lexicon)))
        sentence = _Sentence(self._record, cited, self._values)
        for clause in clauses:
            sentence.read(clause)
        sentence.finish(self._statements, plural=reader.plural)
        return frozenset(sentence.claims), frozenset(sentence.used)


class _Sentence:
    """What was understood of one sentence so far."""

    def __init__(self, record: Record, cited: frozenset[str], values: tuple[Value, ...]) -> None:
        self._record, self._cited = record, cited
        self._values = [value for value in values if value.facts <= cited]
        self._mentioned: set[str] = set()
        self._consumed: set[str] = set()
        self._findings = [one for one in record.findings if one.id in cited]
        self.claims: set[str] = set()
        self.used: set[str] = set()

    def read(self, clause: Clause) -> None:
        self._mentioned |= clause.concepts
        if _any(self._mentioned, "landmark:") and _any(self._mentioned, "finding:"):
            raise StruckError("site: a finding and a landmark in one sentence")
        counted = False
        for number in clause.numbers:
            value = self._value(clause, number.token, number.role, number.near, number.percent)
            counted |= value.claim.startswith("count.")
            self._take(value, clause.topics)
        if clause.phases and not counted:
            self._phase(clause)

    def _value(self, clause: Clause, token: Token, role: str, near: str, percent: bool) -> Value:
        measure = _measure(token, near, percent)
        for value in self._values:
            if value.measure != measure or value.near != near or not value.required <= clause.topics:
                continue
            if clause.topics - value.required - value.optional or (measure == "time" and role not in value.roles):
                continue
            if measure == "date" and value.text == token.text:
                return value
            if measure != "date" and value.is_said(token.number, token.step, token.whole):
                return value
        raise StruckError(f"“{token.text}{' %' if percent else ''}” is no number of a fact that it cites for this")

    def _take(self, value: Value, topics: frozenset[str]) -> None:
        several = {"F": len(self._findings), "I": sum(one.startswith("I") for one in self._cited)}
        name = value.claim.partition(".")[2]
        if several.get(value.claim[0], 0) > 1 and not value.claim.startswith("count.") and name not in ("best", "from"):
            raise StruckError("it gives numbers of several facts at once")
        if value.claim in self.claims:
            raise StruckError(f"it gives {value.claim} twice")
        self.claims.add(value.claim)
        self.used |= value.facts
        self._consumed |= topics & (value.required | value.optional)
        self._consumed |= {f"phase:{one[6:]}" for one in value.required & TIMED}

    def _phase(self, clause: Clause) -> None:
        phases = {one.partition(":")[2] for one in clause.phases}
        for finding in self._findings:
            if {finding.phase} != phases:
                raise StruckError(f"{finding.id} was not seen in {' and '.join(sorted(phases))}")
            self.claims.add(f"{finding.id}.phase")
        if not self._findings:
            raise StruckError("it places no finding that it cites")
        self._consumed |= clause.phases

    def finish(self, statements: Statements, *, plural: frozenset[str]) -> None:
        """Words that claim something by themselves."""
        for kind, subject in _SUBJECTS:
            if _any(self._mentioned, kind) and not _any(self._mentioned, subject):
                raise StruckError(f"it does not say of what: {kind.partition(':')[2] or kind.rstrip(':')}")
        for concept in sorted(self._mentioned):
            if found := statements.holds(concept, self._cited, consumed=concept in self._consumed):
                claims, facts = found
                self.claims |= claims
                self.used |= facts
            elif concept not in self._consumed:
                raise StruckError(f"“{concept.partition(':')[2]}” is in no fact that it cites")
        for concept in plural:
            label, counted = concept.partition(":")[2], any(one.startswith("count.") for one in self.claims)
            if not counted and sum(one.label == label for one in self._findings) < 2:
                raise StruckError("it speaks of several findings and cites one")


_SUBJECTS = (  # what claims something of a subject that has to be named
    ("verdict:", "judgement:"), ("statement:no_verdict", "judgement:"), ("signal:", "topic:interruption"),
    ("statement:alerted", "finding:"), ("statement:not_alerted", "finding:"),
)  # fmt: skip


def _any(concepts: set[str], beginning: str) -> bool:
    return any(one.startswith(beginning) for one in concepts)


def _measure(token: Token, near: str, percent: bool) -> str:
    if token.kind in ("time", "date"):
        return token.kind
    if percent:
        return "share"
    return "score" if near == "near:score" else "count"


def check(record: Record, sentences: Iterable[Sentence], lists: Lists, language: str) -> tuple[Sentence, ...]:
    """The sentences, each with why it does not stand. A person's stand, and so does what was struck out before."""
    checked = Check(record, lists, language)
    return tuple(
        one
        if one.by == "person" or one.struck
        else msgspec.structs.replace(one, struck=checked.sentence(one.text, one.cites).struck)
        for one in sentences
    )
