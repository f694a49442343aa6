"""A question about a procedure, answered from its record or not at all.

Without an endpoint, and wherever it fails: the template's sentences on what the question's words are about. With one:
its sentences, checked as in a draft; a question can make a model say anything, and none of it stands.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from edge.procedure import Finding, Id, Landmark, Record
from edge.types import Struct
from server.report import By, Report, Sentence
from server.words import data, lexicon, template, wording
from server.words import endpoint as endpoints
from server.words.check import Check
from server.words.checklist import Lists
from server.words.endpoint import Endpoint, Fallback
from server.words.errors import WordsError
from server.words.lexicon import begins
from server.words.phrases import of_missing, words
from server.words.tokens import tokens
from server.words.wording import Frames, Worded

QUESTION_MOST = 500  # characters
SENTENCES_MOST = 20  # of a model's answer
ASIDE = 5  # letters from which a word of the question finds a person's sentence


class Told(Struct, frozen=True, kw_only=True):
    """A sentence of an answer, and what to look at."""

    text: str
    cites: tuple[Id, ...] = ()
    frames: tuple[str, ...] = ()  # sha256 of the cited facts' key frames
    by: By


class Answer(Struct, frozen=True, kw_only=True):
    """`recorded`: something in the record answers it. If not, a sentence says so."""

    sentences: tuple[Told, ...]
    recorded: bool
    by: Literal["template", "model"] = "template"
    struck: tuple[Sentence, ...] = ()  # what a model said and the check did not let stand
    fallback: str = ""  # why the template had to do, where a model was asked


class Intent(Struct, frozen=True, kw_only=True):
    words: Annotated[tuple[str, ...], Meta(min_length=1)]
    claims: str  # a pattern
    unless: tuple[str, ...] = ()


class Intents(Struct, frozen=True, kw_only=True):
    nothing: str
    intents: dict[str, Intent]


class Words(Struct, frozen=True, kw_only=True):
    """An answer as a model says it."""

    answer: tuple[Worded, ...]


def answer(
    record: Record,
    report: Report,
    question: str,
    language: str,
    endpoint: Endpoint | None,
    lists: Lists,
    frames: Frames = lambda _: None,
) -> Answer:
    """`report`: what a person refused in it is not said, what a person added may be. Raises WordsError for a question
    that is empty or too long, and for a language without words. Blocks for as long as the endpoint may take."""
    asked = " ".join(question.split())
    if not 0 < len(asked) <= QUESTION_MOST:
        raise WordsError(f"question: {len(asked)} characters, expected 1 to {QUESTION_MOST}")
    desk = _Desk(record, report, language, lists)
    chosen = desk.chosen(asked)
    if endpoint is None:
        return desk.answer(asked, chosen)
    try:
        said = _said(record, desk.facts, asked, language, endpoint, frames)
    except Fallback as why:
        return desk.answer(asked, chosen, fallback=why.reason)
    return desk.checked(asked, chosen, said)


@functools.cache
def intents(language: str, folder: Path = lexicon.FOLDER) -> Intents:
    """Raises WordsError."""
    file = folder / language / "intents.toml"
    known = data.load(file, Intents)
    for name, one in known.intents.items():
        if strange := sorted(set(one.unless) - set(known.intents)):
            raise WordsError(f"{file}: intents.{name}.unless: {strange[0]!r} is no intent")
        try:
            re.compile(one.claims)
        except re.error as exc:
            raise WordsError(f"{file}: intents.{name}.claims: {exc}") from exc
    return known


def _said(
    record: Record, facts: Iterable[Sentence], question: str, language: str, endpoint: Endpoint, frames: Frames
) -> tuple[Worded, ...]:
    """A model's answer. Raises Fallback."""
    rows = [{"cites": one.cites, "fact": one.text} for one in facts][: wording.FACTS_MOST]
    text = json.dumps({"facts": rows, "question": question}, ensure_ascii=False, indent=0)
    ids = sorted({id for row in rows for id in row["cites"]})
    shown = wording.pictures(record, frames, endpoint.frames_most)
    shape = endpoints.schema({"answer": SENTENCES_MOST}, ids)
    said = wording.converted(endpoint.ask(wording.prompt("ask", language), text, shown, shape), Words).answer
    wording.usable(said, record)
    return said


class _Desk:
    """One record's facts, in sentences, with what each claims."""

    def __init__(self, record: Record, report: Report, language: str, lists: Lists) -> None:
        self._record, self._language = record, language
        self._lexicon, self._intents = lexicon.of(language), intents(language)
        self._checklist, self._check = lists.of(record), Check(record, lists, language)
        standing = {id for one in report.standing() for id in one.cites}
        facts: list[Finding | Landmark] = [*record.landmarks, *record.findings]
        refused = {one.id for one in facts} - standing
        self._shown = {one.id: one.key_frame.sha256 for one in facts if one.key_frame is not None}
        self.facts = [
            one
            for one in template.sentences(record, language, lists, together=False)
            if not one.cites or set(one.cites) - refused
        ]
        self._claims = {one.id: self._check.sentence(one.text, one.cites).claims for one in self.facts}
        self._persons = [one for one in report.standing() if one.by == "person"]

    # ------------------------------------------------------------------------------------ what it is about

    def chosen(self, question: str) -> list[Sentence]:
        """The template's sentences on what the question's words are about, in the report's order."""
        named = set(self._named(question))
        patterns = [intent.claims for intent in self._meant(question).values()]
        return [
            one
            for one in self.facts
            if named & (self._claims[one.id] | set(one.cites))
            or any(re.match(pattern, claim) for pattern in patterns for claim in self._claims[one.id])
        ]

    def _meant(self, question: str) -> dict[str, Intent]:
        spoken = question.lower()
        found = {
            name: one for name, one in self._intents.intents.items() if any(_speaks(spoken, word) for word in one.words)
        }
        named = {} if not any(self._landmarks(question)) else {"landmark": self._intents.intents["landmark"]}
        about = found | named
        kept = {name: one for name, one in found.items() if not set(one.unless) & set(about)}
        if named:  # of that landmark alone
            kept.pop("landmark", None)
        return kept

    def _named(self, question: str) -> Iterator[str]:
        """Facts and claims that the question names: a landmark, an item of the list."""
        for kind in self._landmarks(question):
            yield from (one.id for one in self._record.landmarks if one.kind == kind)
            for item in self._checklist.items:
                if {f"landmark:{kind}", f"picture:{kind}"} & set(item.recorded):
                    yield f"missing.{item.key}"
            yield f"missing.{kind}"
        spoken = tuple(token.word for token in tokens(question, self._lexicon))
        for phrase, concepts in of_missing(self._checklist, self._language, self._lexicon).phrases.items():
            if phrase and _within(phrase, spoken):
                yield from (f"missing.{one[5:]}" for one in concepts if one.startswith("item:"))

    def _landmarks(self, question: str) -> Iterator[str]:
        spoken = tuple(token.word for token in tokens(question, self._lexicon))
        for kind, forms in self._lexicon.terms["landmark"].items():
            if any(_within(words(form, self._lexicon), spoken) for form in forms):
                yield kind

    # --------------------------------------------------------------------------------------------- answers

    def answer(self, question: str, chosen: list[Sentence], *, fallback: str = "") -> Answer:
        """Of the template's sentences and a person's."""
        sentences = [self._told(one) for one in (*chosen, *self._added(question))]
        recorded = any(one.section != "not_recorded" for one in chosen) or any(one.by == "person" for one in sentences)
        if not sentences:
            sentences = [Told(text=self._intents.nothing, by="template")]
        return Answer(sentences=tuple(sentences), recorded=recorded, fallback=fallback)

    def checked(self, question: str, chosen: list[Sentence], said: tuple[Worded, ...]) -> Answer:
        """Of the model's sentences those that stand and speak of what was asked; the template's for all they leave
        out."""
        asked = {claim for one in chosen for claim in self._claims[one.id]}
        kept: list[Sentence] = []
        struck: list[Sentence] = []
        claimed: set[str] = set()
        for one in said:
            found = self._check.sentence(wording.line(one.text), one.cites)
            if found.struck:
                struck.append(wording.sentence("summary", one, found.struck))
            elif not found.claims <= claimed and (not asked or found.claims & asked):
                claimed |= found.claims
                kept.append(wording.sentence(found.section, one))
        plain = self.answer(question, [one for one in chosen if not self._claims[one.id] <= claimed])
        if not kept:
            return Answer(
                sentences=plain.sentences, recorded=plain.recorded, struck=tuple(struck), fallback="nothing stands"
            )
        left = plain.sentences if chosen or plain.recorded else ()
        left = tuple(one for one in left if one.text != self._intents.nothing)
        recorded = plain.recorded or any(one.section != "not_recorded" for one in kept)
        sentences = (*(self._told(one) for one in kept), *left)
        return Answer(sentences=sentences, recorded=recorded, by="model", struck=tuple(struck))

    def _added(self, question: str) -> Iterator[Sentence]:
        """A person's sentences that share a word with the question."""
        stems = [word for intent in self._meant(question).values() for word in intent.words]
        stems += [f"{word[:ASIDE]}*" for word in re.findall(r"\w+", question.lower()) if len(word) >= ASIDE]
        for one in self._persons:
            if any(_speaks(one.text.lower(), stem) for stem in stems):
                yield one

    def _told(self, one: Sentence) -> Told:
        frames = tuple(self._shown[id] for id in one.cites if id in self._shown)
        return Told(text=one.text, cites=one.cites, frames=frames, by=one.by)


def _speaks(text: str, word: str) -> bool:
    """Whether a word (or words) of the text is this one, or begins like it."""
    if " " in word:
        return re.search(rf"\b{re.escape(word)}\b", text) is not None
    return any(begins(spoken, word) for spoken in re.findall(r"\w+", text))


def _within(phrase: tuple[str, ...], spoken: tuple[str, ...]) -> bool:
    return any(spoken[at : at + len(phrase)] == phrase for at in range(len(spoken)))
