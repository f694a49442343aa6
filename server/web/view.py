"""What the review page shows of a procedure: a record, its report and who looks at it → words and marks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from edge.procedure import Record
from edge.types import Struct
from server.edits import EDITED
from server.export.words import LANGUAGES
from server.patient import Patient
from server.report import Report, Section, Sentence, Signature
from server.reports import Key, Version
from server.web.evidence import Fact, facts
from server.web.pages import place, when
from server.web.timeline import Timeline, timeline

_STATES = {"": "No draft yet", "draft": "Draft, not signed", "final": "Signed", "amended": "Signed, amended"}


class Said(Struct, frozen=True, kw_only=True):
    """A sentence as it is shown."""

    id: str
    section: str
    text: str
    cites: tuple[str, ...]
    by: str  # template, model, person
    mark: str  # M, L, P
    who: str  # the same in words
    struck: str  # why, and who struck it out; "" it stands
    may: tuple[str, ...]  # edit, strike, restore


class Part(Struct, frozen=True, kw_only=True):
    name: str
    title: str
    said: tuple[Said, ...]


class Banner(Struct, frozen=True, kw_only=True):
    kind: str  # warn, note
    text: str
    href: str = ""
    link: str = ""


class Counts(Struct, frozen=True, kw_only=True):
    """Sentences."""

    machine: int  # that stand, of the template
    model: int
    person: int
    by_check: int  # struck out
    by_people: int

    @property
    def standing(self) -> int:
        return self.machine + self.model + self.person


class View(Struct, frozen=True, kw_only=True):
    key: Key
    place: str
    title: str
    language: str
    state: str  # of the report; "" none yet
    state_words: str
    number: int  # of its version; 0 none yet
    started: str
    patient: Patient | None
    record: Record
    report: Report | None
    timeline: Timeline
    facts: tuple[Fact, ...]
    parts: tuple[Part, ...]
    banners: tuple[Banner, ...]
    counts: Counts
    signatures: tuple[Signature, ...]
    needed: int  # of them
    signed: bool  # by who looks at it, too
    may_change: bool
    words: dict[str, str]

    def said(self, sentence: str) -> Said | None:
        return next((one for part in self.parts for one in part.said if one.id == sentence), None)

    def beside(self, cites: Sequence[str]) -> tuple[Fact, ...]:
        return tuple(fact for fact in self.facts if fact.id in cites)


def view(
    record: Record,
    version: Version | None,
    *,
    account: str = "",
    may_change: bool = False,
    patient: Patient | None = None,
    revisions: Sequence[int] = (),
    missing: Sequence[str] = (),
    needed: int = 1,
) -> View:
    """`missing`: sha256 of key frames that are not here. `may_change`: as far as the person's role goes."""
    report = version.report if version is not None else None
    key = Key(record.heading.device, record.procedure, record.revision)
    words = LANGUAGES.get(report.language if report is not None else "en", LANGUAGES["en"])
    state = report.state if report is not None else ""
    signatures = report.signatures if report is not None else ()
    return View(
        key=key,
        place=place(key),
        title=words.get(record.heading.made_by.pipeline, words["report"]),
        language=report.language if report is not None else "en",
        state=state,
        state_words=_STATES[state],
        number=version.number if version is not None else 0,
        started=when(record.heading.started_at),
        patient=patient,
        record=record,
        report=report,
        timeline=timeline(record),
        facts=facts(record, report),
        parts=_parts(report, words, may_change),
        banners=tuple(_banners(record, report, key, revisions, len(set(missing)))),
        counts=counts(report),
        signatures=signatures,
        needed=needed,
        signed=any(one.account == account for one in signatures),
        may_change=may_change,
        words=words,
    )


def counts(report: Report | None) -> Counts:
    sentences = report.sentences if report is not None else ()
    standing = [one.by for one in sentences if not one.struck]
    struck = [one.struck_by for one in sentences if one.struck]
    return Counts(
        machine=standing.count("template"),
        model=standing.count("model"),
        person=standing.count("person"),
        by_check=struck.count(""),
        by_people=len(struck) - struck.count(""),
    )


def said(one: Sentence, report: Report, words: dict[str, str], may_change: bool) -> Said:
    who = words[f"by_{one.by}"] if one.by != "person" else f"written by {one.author or 'a person'}"
    return Said(
        id=one.id,
        section=one.section,
        text=one.text,
        cites=one.cites,
        by=one.by,
        mark=words[f"mark_{one.by}"],
        who=who,
        struck=_struck(one),
        may=_may(one) if may_change and report.state == "draft" else (),
    )


def _may(one: Sentence) -> tuple[str, ...]:
    if not one.struck:
        return ("edit", "strike")
    return ("restore",) if one.struck_by else ()


def _struck(one: Sentence) -> str:
    if not one.struck:
        return ""
    if not one.struck_by:
        return f"Struck out by the check: {one.struck}"
    if one.struck == EDITED:
        return f"Replaced by {one.struck_by}"
    return f"Struck out by {one.struck_by}: {one.struck}"


def _parts(report: Report | None, words: dict[str, str], may_change: bool) -> tuple[Part, ...]:
    """Every section, an empty one, too: there is something to add to."""
    if report is None:
        return ()
    return tuple(
        Part(
            name=name,
            title=words[name],
            said=tuple(said(one, report, words, may_change) for one in report.sentences if one.section == name),
        )
        for name in get_args(Section)
    )


def _banners(
    record: Record, report: Report | None, key: Key, revisions: Sequence[int], missing: int
) -> Iterator[Banner]:
    newest = max(revisions, default=record.revision)
    if newest > record.revision:
        text = (
            f"The box has sent a newer record of this procedure: revision {newest}. This is revision {record.revision}."
        )
        href = place(Key(key.device, key.procedure, newest))
        yield Banner(kind="warn", text=text, href=href, link=f"Show revision {newest}")
    if record.state == "interrupted":
        text = "The procedure was interrupted: the box was stopped while it ran. What came after is not in the record."
        yield Banner(kind="warn", text=text)
    if not record.heading.clock_trusted:
        text = "The box's clock was not set. The date may be wrong; times within the procedure are right."
        yield Banner(kind="warn", text=text)
    if missing:
        whole = len({frame.sha256 for frame in record.key_frames()})
        yield Banner(kind="warn", text=f"{missing} of {whole} key frames are not here.")
    if report is None:
        yield Banner(kind="note", text="The draft is being made. This page says so when it is there.")
    elif report.drafted.fallback:
        text = (
            f"A language model was to word this and could not ({report.drafted.fallback}): the template's words stand."
        )
        yield Banner(kind="note", text=text)
