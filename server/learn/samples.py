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
from server.learn import form, gate, picture
from server.learn.case import SignedCase
from server.learn.known import Known
from server.report import Report, Sentence

Missing = Literal[
    "not signed",
    "parts that do not fit together",
    "a language without words",
    "nothing would be learnt",
    "names or numbers that are known",
    "a picture that cannot be cleaned",
]
UNSUPPORTED = "not what the check lets stand"
"""A sentence that no fact supports, or with words that the check does not know: a size, a treatment, a name."""


@dataclass(frozen=True)
class LeftOut:
    """A case that does not leave. `detail` is for the one who exports, never for the folder."""

    why: Missing
    detail: str = ""


@dataclass(frozen=True)
class Sample:
    """`rejected`: "" when nobody changed the draft, and then there is no pair. `whole`: nothing that was signed of a
    fact stayed behind; another sample is good for a pair alone, for by itself it would teach silence. `group`: the same
    for every case of one patient; it decides to which part they belong and is written nowhere."""

    language: str
    messages: list[dict[str, Any]]
    pictures: tuple[bytes, ...]
    chosen: str
    rejected: str
    whole: bool
    group: str
    left: Counter[str] = field(default_factory=Counter)  # sentences that stay behind, by why
    told: Counter[str] = field(default_factory=Counter)  # the check's own reasons; never for the folder

    @property
    def id(self) -> str:
        """Of what is in it alone: it leads back to nobody."""
        seen = [self.messages, [hashlib.sha256(one).hexdigest() for one in self.pictures], self.chosen, self.rejected]
        return hashlib.sha256(msgspec.json.encode(seen)).hexdigest()[:24]


def sample(case: SignedCase, frames_most: int) -> Sample | LeftOut:
    """`frames_most`: pictures that an endpoint is shown."""
    if case.signed.state == "draft" or not case.signed.signatures:
        return LeftOut("not signed")
    if reason := _unfit(case):
        return LeftOut("parts that do not fit together", reason)
    if case.signed.language not in form.LANGUAGES:
        return LeftOut("a language without words", case.signed.language)
    known, spoken = Known.of(case), form.Form(case.record, case.signed.language)
    weighed = _Weighed(case, known, spoken)
    chosen, rejected = form.answer(weighed.chosen()), form.answer(weighed.rejected())
    pair = rejected if rejected != chosen and weighed.rejected() else ""
    if not weighed.chosen() or not (weighed.whole or pair):
        return LeftOut("nothing would be learnt")
    asked = spoken.asked(case.frames.get, frames_most, lambda text: not gate.weighed(text, known, machine=True))
    if known.anywhere([*_texts(asked.messages), chosen, rejected]):
        return LeftOut("names or numbers that are known")
    try:
        pictures = tuple(picture.bare(one) for one in asked.pictures)
    except ValueError as exc:
        return LeftOut("a picture that cannot be cleaned", str(exc))
    return Sample(
        language=case.signed.language,
        messages=asked.messages,
        pictures=pictures,
        chosen=chosen,
        rejected=pair,
        whole=weighed.whole,
        group=_group(case),
        left=weighed.left,
        told=weighed.told,
    )


class _Weighed:
    """Every sentence of a case once: may it leave, and why not."""

    def __init__(self, case: SignedCase, known: Known, spoken: form.Form) -> None:
        self.left: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self._case, self._known, self._spoken = case, known, spoken
        self._ours = {_key(one) for one in case.draft.sentences if one.by == "template"}
        sentences = {_key(one): one for report in (case.draft, case.signed) for one in report.standing()}
        self._why = {key: self._weigh(one) for key, one in sentences.items()}
        self._unsettled = set(self._judged_unseen())

    @property
    def whole(self) -> bool:
        """Whether all that was signed of a fact is there, and nothing had to be passed over."""
        spoken = {fact for one in self._case.signed.standing() for fact in one.cites}
        return not self._unsettled and not spoken - {fact for one in self.chosen() for fact in one.cites}

    def chosen(self) -> list[Sentence]:
        return self._kept(self._case.signed)

    def rejected(self) -> list[Sentence]:
        return [one for one in self._kept(self._case.draft) if one.id not in self._unsettled]

    def _kept(self, report: Report) -> list[Sentence]:
        return [one for one in report.standing() if not self._why[_key(one)]]

    def _judged_unseen(self) -> Iterator[str]:
        """Sentences of the draft that a person took out, to speak of the same in words that stay behind. Were they
        wrong, or only in need of another word? Nobody who reads the sample can know, so neither side has them."""
        signed = self._case.signed.sentences
        stays = [bool(not one.struck and self._why[_key(one)]) for one in signed]
        spoken = {fact for one, behind in zip(signed, stays, strict=True) if behind for fact in one.cites}
        for number, one in enumerate(signed):
            if one.struck_by and (spoken.intersection(one.cites) or _leads_to(signed, number, stays)):
                yield one.id

    def _weigh(self, sentence: Sentence) -> str:
        machine = sentence.by == "template" and _key(sentence) in self._ours
        why: str = gate.weighed(sentence.text, self._known, machine)
        if not why and (struck := self._spoken.struck(sentence)):
            why = UNSUPPORTED
            self.told[struck] += 1
        if why:
            self.left[why] += 1
        return why


def _leads_to(signed: tuple[Sentence, ...], number: int, stays: list[bool]) -> bool:
    """Whether what stands in its place stays behind. `edits.change` puts it right after."""
    while signed[number].struck == EDITED and number + 1 < len(signed):
        number += 1
    return stays[number]


def _key(sentence: Sentence) -> str:
    return sentence.id + sentence.text


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
