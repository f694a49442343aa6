"""A model's wording of a template report, checked: what stands of it takes the place of the template's sentences that
say no more; everything else of the template stays, so nothing is left out. Any failure is the template.
"""

from __future__ import annotations

import functools
import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, TypeVar, get_args

import msgspec
from msgspec import Meta

from edge.procedure import Finding, Id, Landmark, Record
from edge.types import Struct
from server.report import Drafted, Report, Section, Sentence
from server.words import endpoint as endpoints
from server.words import lexicon, template
from server.words.check import TEXT_MOST, Check
from server.words.checklist import Lists
from server.words.endpoint import Endpoint, Fallback, Picture

Frames = Callable[[str], bytes | None]
"""A key frame by its sha256; None: it is not there, and the model does without."""
SENTENCES_MOST = 200  # of a whole answer
BESIDE = 2  # sentences of a section, beyond those that its facts have
SPACES = "\u00a0\u202f"  # that numbers are set with
FACTS_MOST = 300  # sentences that are worded; of a longer report the template's stay


class Worded(Struct, frozen=True, kw_only=True):
    """A sentence as a model says it."""

    cites: Annotated[tuple[Id, ...], Meta(max_length=1000)]
    text: str


class Answer(Struct, frozen=True, kw_only=True):
    """A report as a model says it."""

    procedure: tuple[Worded, ...] = ()
    quality: tuple[Worded, ...] = ()
    landmarks: tuple[Worded, ...] = ()
    findings: tuple[Worded, ...] = ()
    summary: tuple[Worded, ...] = ()
    not_recorded: tuple[Worded, ...] = ()


def word(record: Record, drafted: Report, frames: Frames, endpoint: Endpoint, lists: Lists) -> Report:
    """`drafted`: the template's report of this record. Blocks for as long as the endpoint may take."""
    facts = drafted.sentences[:FACTS_MOST]
    system, text = prompt("prompt", drafted.language), told(facts)
    made = Drafted(by="model", model=endpoint.model, prompt=digest("prompt", drafted.language))
    try:
        ids = sorted({id for fact in facts for id in fact.cites})
        shape = endpoints.schema(_lengths(facts), ids)
        said = endpoint.ask(system, text, pictures(record, frames, endpoint.frames_most), shape)
        answer = converted(said, Answer)
        sentences = [(section, one) for section in get_args(Section) for one in getattr(answer, section)]
        usable([one for _, one in sentences], record)
    except Fallback as why:
        made = msgspec.structs.replace(made, by="template", fallback=why.reason)
        return msgspec.structs.replace(drafted, drafted=made)
    return _merged(drafted, Check(record, lists, drafted.language), sentences, made)


@functools.cache
def prompt(name: str, language: str) -> str:
    """The system's part of a prompt. Raises WordsError for a language without words."""
    lexicon.of(language)
    return template.prompt(f"{language}/{name}.txt.j2")


@functools.cache
def digest(name: str, language: str) -> str:
    """sha256 of a prompt's template."""
    return hashlib.sha256(prompt(name, language).encode()).hexdigest()


def told(facts: Iterable[Sentence]) -> str:
    """The facts as data: a JSON list, so that nothing in them can pass for anything else."""
    rows = [{"section": one.section, "cites": one.cites, "fact": one.text} for one in facts]
    return json.dumps(rows, ensure_ascii=False, indent=0)


def _lengths(facts: Iterable[Sentence]) -> dict[str, int]:
    """How many sentences each section may have."""
    counts = Counter(fact.section for fact in facts)
    return {section: min(counts[section] + BESIDE, SENTENCES_MOST) for section in get_args(Section)}


def pictures(record: Record, frames: Frames, most: int) -> list[Picture]:
    """Key frames to show, the best findings' first, then landmarks'."""
    findings = sorted(record.findings, key=lambda one: -one.best_score)
    facts: list[Finding | Landmark] = [*findings, *record.landmarks]
    known = ((one.id, frames(one.key_frame.sha256)) for one in facts if one.key_frame is not None)
    found = (Picture(name, jpeg) for name, jpeg in known if jpeg is not None)
    return [picture for picture, _ in zip(found, range(most), strict=False)]


T = TypeVar("T")


def converted(said: Any, form: type[T]) -> T:
    """Raises Fallback."""
    try:
        return msgspec.convert(said, form)
    except msgspec.ValidationError as exc:
        raise Fallback("wrong form") from exc


def usable(sentences: Sequence[Worded], record: Record) -> None:
    """Raises Fallback for an answer that is not of this record, or none at all."""
    if not sentences:
        raise Fallback("empty")
    if len(sentences) > SENTENCES_MOST:
        raise Fallback("too many sentences")
    if any(set(one.cites) - record.ids() for one in sentences):
        raise Fallback("unknown ids")


# -------------------------------------------------------------------------------------------- what stands


def _merged(drafted: Report, checked: Check, said: list[tuple[Section, Worded]], made: Drafted) -> Report:
    """Section by section: the model's sentences that stand, the template's that they do not cover, what was struck."""
    kept: dict[Section, list[Sentence]] = {section: [] for section in get_args(Section)}
    struck: dict[Section, list[Sentence]] = {section: [] for section in get_args(Section)}
    claimed: dict[Section, set[str]] = {section: set() for section in get_args(Section)}
    for section, one in said:
        found = checked.sentence(line(one.text), one.cites)
        if found.struck:
            struck[section].append(sentence(section, one, found.struck))
            continue
        to: Section = section if section == "summary" else found.section
        if not found.claims <= claimed[to]:  # what it says again is left out
            claimed[to] |= found.claims
            kept[to].append(sentence(to, one))
    merged: list[Sentence] = []
    for section in get_args(Section):
        own = [one for one in drafted.sentences if one.section == section]
        left = [one for one in own if not checked.sentence(one.text, one.cites).claims <= claimed[section]]
        merged += [*kept[section], *left, *struck[section]]
    made = msgspec.structs.replace(made, struck=sum(map(len, struck.values())))
    return msgspec.structs.replace(drafted, drafted=made, sentences=tuple(_numbered(merged)))


def line(text: str) -> str:
    """As it is checked and kept: one line, letters composed."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def sentence(section: Section, one: Worded, struck: str = "") -> Sentence:
    """What cannot be shown is shown as that."""
    text = "".join(sign if sign.isprintable() or sign in SPACES else "\ufffd" for sign in line(one.text))
    text = text if len(text) <= TEXT_MOST else text[: TEXT_MOST - 1] + "…"
    return Sentence(id="S1", section=section, text=text or "–", cites=one.cites, by="model", struck=struck)


def _numbered(sentences: list[Sentence]) -> Iterator[Sentence]:
    for number, one in enumerate(sentences, start=1):
        yield msgspec.structs.replace(one, id=f"S{number}")
