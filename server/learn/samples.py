"""A signed case becomes a sample: what was asked, what a clinician stands for, and what the machine had said."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from server.edits import EDITED
from server.export.case import Case, ExportError
from server.learn import form, picture
from server.learn.case import SignedCase
from server.learn.gate import Gate, Why
from server.learn.known import Known
from server.learn.vocabulary import Vocabulary
from server.report import Report, Sentence

Missing = Literal[
    "not signed",
    "parts that do not fit together",
    "something said of a fact would be missing",
    "nothing would be left",
    "names or numbers that are known",
    "a picture that cannot be cleaned",
]
UNSUPPORTED = "not of the record"
"""A sentence that no fact supports: what was removed, how large it was. The machine cannot know it."""


@dataclass(frozen=True)
class LeftOut:
    """A case that does not leave. `detail` is for the one who exports, never for the folder."""

    why: Missing
    detail: str = ""
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """`rejected`: "" when nobody changed the draft, and then there is no pair. `group`: the same for every case of one
    patient; it decides to which part they belong and is written nowhere."""

    language: str
    messages: list[dict[str, Any]]
    pictures: tuple[bytes, ...]
    chosen: str
    rejected: str
    group: str
    left: Counter[str] = field(default_factory=Counter)  # sentences that stay behind, by why
    unknown: tuple[str, ...] = ()  # the words because of which; never for the folder

    @property
    def id(self) -> str:
        """Of what is in it alone: it leads back to nobody."""
        seen = [self.messages, [hashlib.sha256(one).hexdigest() for one in self.pictures], self.chosen, self.rejected]
        return hashlib.sha256(msgspec.json.encode(seen)).hexdigest()[:24]


def sample(case: SignedCase, vocabulary: Vocabulary | None) -> Sample | LeftOut:
    """`vocabulary`: of the report's language."""
    if case.signed.state == "draft" or not case.signed.signatures:
        return LeftOut("not signed")
    if reason := _unfit(case):
        return LeftOut("parts that do not fit together", reason)
    known = Known.of(case)
    weighed = _Weighed(case, Gate.of(case.record, known, vocabulary))
    chosen, rejected = weighed.kept(case.signed), weighed.kept(case.draft)
    unknown = tuple(weighed.unknown)
    if weighed.missing(case.signed, chosen):
        return LeftOut("something said of a fact would be missing", unknown=unknown)
    if not chosen:
        return LeftOut("nothing would be left", unknown=unknown)
    asked = form.asked(form.nameless(case.record), case.signed.language)
    said, before = form.answer(chosen), form.answer(rejected)
    if known.anywhere([*_texts(asked.messages), said, before]):
        return LeftOut("names or numbers that are known")
    try:
        pictures = tuple(picture.bare(case.frames[digest]) for digest in asked.pictures)
    except ValueError as exc:
        return LeftOut("a picture that cannot be cleaned", str(exc))
    return Sample(
        language=case.signed.language,
        messages=asked.messages,
        pictures=pictures,
        chosen=said,
        rejected="" if before == said or not rejected else before,
        group=_group(case),
        left=weighed.left,
        unknown=unknown,
    )


class _Weighed:
    """Every sentence of a case once: may it leave, and why not."""

    def __init__(self, case: SignedCase, gate: Gate) -> None:
        self.left: Counter[str] = Counter()
        self.unknown: list[str] = []
        self._gate = gate
        self._ours = {(one.id, one.text) for one in case.draft.sentences if one.by == "template"}
        sentences = {one.id + one.text: one for report in (case.draft, case.signed) for one in report.standing()}
        stands = dict(
            zip(sentences, form.supported(case.record, sentences.values(), case.signed.language), strict=True)
        )
        self._why: dict[str, str] = {key: self._weigh(one, stands[key]) for key, one in sentences.items()}

    def kept(self, report: Report) -> list[Sentence]:
        return [one for one in report.standing() if not self._why[one.id + one.text]]

    def missing(self, signed: Report, chosen: list[Sentence]) -> bool:
        """A fact that the report speaks of and the sample does not, or a sentence that was changed and whose new words
        stay behind. A model would learn to be silent."""
        spoken = {fact for one in signed.standing() for fact in one.cites}
        if spoken - {fact for one in chosen for fact in one.cites}:
            return True
        pairs = zip(signed.sentences, signed.sentences[1:], strict=False)
        return any(old.struck == EDITED and not new.struck and new not in chosen for old, new in pairs)

    def _weigh(self, sentence: Sentence, supported: bool) -> str:
        machine = sentence.by == "template" and (sentence.id, sentence.text) in self._ours
        why: Why = self._gate.machine(sentence.text) if machine else self._gate.free(sentence.text)
        if why == "a word":
            self.unknown += self._gate.unknown(sentence.text)
        reason = why or ("" if machine or supported else UNSUPPORTED)
        if reason:
            self.left[reason] += 1
        return reason


def _unfit(case: SignedCase) -> str:
    try:
        Case(case.record, case.signed, case.frames, case.patient, case.names.institution)
        Case(case.record, case.draft, case.frames)
    except ExportError as exc:
        return str(exc)
    if case.draft.language != case.signed.language:
        return f"a draft in {case.draft.language!r}, signed in {case.signed.language!r}"
    return ""


def _group(case: SignedCase) -> str:
    if case.patient is None:
        return f"{case.record.heading.device}/{case.record.procedure}"
    return f"{case.patient.issuer}/{case.patient.id}"


def _texts(messages: list[dict[str, Any]]) -> Iterator[str]:
    for message in messages:
        yield from (part["text"] for part in message["content"] if part["type"] == "text")
