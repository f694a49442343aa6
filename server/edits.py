"""What people may do to a report: change, add, strike, sign, amend. Pure: a report in, a report out.

Nothing that was said is lost: a changed sentence is struck out and a person's stands in its place. A change takes back
the signatures of a report that still waits for its second one. Raises RefusedError with a sentence for the reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from edge.procedure import Record
from server.errors import RefusedError
from server.report import Report, Section, Sentence, Signature

EDITED, STRUCK = "replaced", "struck out"
SENTENCES_MOST = 400
WHY_MOST = 200  # characters of a reason
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def change(
    report: Report, sentence: str, text: str, cites: Iterable[str] | None, author: str, record: Record
) -> Report:
    """`cites`: None keeps them."""
    old = _standing(_open(report), sentence)
    cited = old.cites if cites is None else tuple(cites)
    if text == old.text and cited == old.cites:
        return report
    new = _said(report, old.section, text, cited, author, record)
    sentences: list[Sentence] = []
    for one in report.sentences:
        sentences += [replace(one, struck=EDITED, struck_by=author), new] if one.id == sentence else [one]
    return _changed(report, sentences)


def add(report: Report, section: Section, text: str, cites: Iterable[str], author: str, record: Record) -> Report:
    """At the section's end."""
    new = _said(_open(report), section, text, tuple(cites), author, record)
    return _changed(report, [*report.sentences, new])


def strike(report: Report, sentence: str, why: str, author: str) -> Report:
    old = _standing(_open(report), sentence)
    if len(why) > WHY_MOST:
        raise RefusedError(f"a reason of {len(why)} characters, expected at most {WHY_MOST}")
    return _with(report, replace(old, struck=_decent(why) or STRUCK, struck_by=author))


def restore(report: Report, sentence: str) -> Report:
    """A sentence that a person struck out stands again; what the check struck out does not."""
    old = _find(_open(report), sentence)
    if not old.struck:
        return report
    if not old.struck_by:
        raise RefusedError(f"{sentence}: the check struck it out ({old.struck}); if it is true, say it yourself", 409)
    return _with(report, replace(old, struck="", struck_by=""))


def sign(report: Report, signature: Signature, needed: int) -> Report:
    """`needed`: signatures of different people, until it is final."""
    _open(report)
    if any(one.account == signature.account for one in report.signatures):
        raise RefusedError(f"{signature.name} has signed this already; another person has to", 409)
    signatures = (*report.signatures, signature)
    return replace(report, signatures=signatures, state="final" if len(signatures) >= needed else "draft")


def amend(
    report: Report, said: Iterable[tuple[Section, str, tuple[str, ...]]], signature: Signature, record: Record
) -> Report:
    """An addendum to a signed report: sentences, and the signature of who adds them."""
    if report.state == "draft":
        raise RefusedError("this report is not signed yet: change it instead of adding to it", 409)
    amended = report
    for section, text, cites in said:
        new = _said(amended, section, text, cites, signature.name, record)
        amended = replace(amended, sentences=(*amended.sentences, new))
    if amended is report:
        raise RefusedError("an addendum without a sentence", 400)
    return replace(amended, state="amended", signatures=(*report.signatures, signature))


def _with(report: Report, sentence: Sentence) -> Report:
    return _changed(report, [sentence if one.id == sentence.id else one for one in report.sentences])


def _changed(report: Report, sentences: Iterable[Sentence]) -> Report:
    return replace(report, sentences=tuple(sentences), signatures=())


def _open(report: Report) -> Report:
    if report.state != "draft":
        raise RefusedError("this report is signed: it cannot be changed, only added to", 409)
    return report


def _find(report: Report, sentence: str) -> Sentence:
    for one in report.sentences:
        if one.id == sentence:
            return one
    raise RefusedError(f"{sentence}: no such sentence", 404)


def _standing(report: Report, sentence: str) -> Sentence:
    found = _find(report, sentence)
    if found.struck:
        raise RefusedError(f"{sentence} is struck out: {found.struck}", 409)
    return found


def _said(report: Report, section: Section, text: str, cites: tuple[str, ...], author: str, record: Record) -> Sentence:
    if len(report.sentences) >= SENTENCES_MOST:
        raise RefusedError(f"a report has at most {SENTENCES_MOST} sentences", 409)
    if unknown := sorted(set(cites) - record.ids()):
        raise RefusedError(f"the record has no {', '.join(unknown)}", 400)
    number = 1 + max((int(one.id[1:]) for one in report.sentences), default=0)
    told = {"id": f"S{number}", "section": section, "text": _decent(text), "cites": cites, "by": "person"}
    try:
        return msgspec.convert({**told, "author": author}, Sentence)
    except msgspec.ValidationError as exc:
        raise RefusedError(f"a sentence: {exc}", 400) from exc


def _decent(text: str) -> str:
    """On one line, without what neither XML nor FHIR can carry."""
    return " ".join(_CONTROL.sub(" ", text).split())
