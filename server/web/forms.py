"""A report's forms: which one is open, with what somebody typed. Pure."""

from __future__ import annotations

from typing import Literal

from edge.types import Struct
from server.edits import EDITED
from server.report import Report, Sentence


class Open(Struct, frozen=True, kw_only=True):
    """`said`: why it was not taken, for the person who typed it."""

    kind: Literal["edit", "add", "strike"]
    sentence: str = ""  # of edit and strike
    section: str = ""  # of add
    text: str = ""
    cites: tuple[str, ...] = ()
    said: str = ""


def editing(report: Report, sentence: str) -> Open | None:
    """None where it cannot be changed."""
    one = next((one for one in report.sentences if one.id == sentence), None)
    if one is None or one.struck or report.state != "draft":
        return None
    return Open(kind="edit", sentence=one.id, section=one.section, text=one.text, cites=one.cites)


def standing_in_for(report: Report, sentence: str) -> Sentence | None:
    """The sentence itself, or the one that a person put in its place; None: nothing stands there any more."""
    at = next((number for number, one in enumerate(report.sentences) if one.id == sentence), None)
    while at is not None and at < len(report.sentences):
        one = report.sentences[at]
        if not one.struck:
            return one
        if one.struck != EDITED:
            return None
        at += 1
    return None


def late(report: Report, form: Open, who: str) -> Open | None:
    """The form again for a report that somebody changed meanwhile, nothing typed being lost; None: it is signed now.
    `who`: who was faster."""
    if report.state != "draft":
        return None
    by = who or "The server"
    if form.kind == "add":
        return _with(form, said=f"{by} has changed the report meanwhile. Look at it, then save again.")
    now = standing_in_for(report, form.sentence)
    if form.kind == "strike":
        if now is not None and now.id == form.sentence:
            return _with(form, said=f"{by} has changed the report meanwhile. Look at it, then strike again.")
        return None
    if now is None:
        said = f"{by} has struck this sentence out meanwhile. What you typed can be added as a new one."
        return Open(kind="add", section=form.section, text=form.text, cites=form.cites, said=said)
    if now.id == form.sentence:
        return _with(
            form, said=f"{by} has changed the report meanwhile, but not this sentence. Save again to keep yours."
        )
    said = f"{by} has changed this sentence meanwhile. It now says: “{now.text}” Save again to put yours in its place."
    return Open(kind="edit", sentence=now.id, section=now.section, text=form.text, cites=form.cites, said=said)


def _with(form: Open, said: str) -> Open:
    return Open(
        kind=form.kind, sentence=form.sentence, section=form.section, text=form.text, cites=form.cites, said=said
    )
