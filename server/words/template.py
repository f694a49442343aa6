"""The template report: what a record says, in plain sentences. Always correct, for it knows nothing but the record.

One Jinja2 template a section and language, `LANGUAGE/SECTION.txt.j2`; each of its lines is a sentence, `ids | text`.
A record's free text comes as `values.plain` makes it, in quotation marks where the lexicon has no words for it, so it
can neither begin a line nor become part of a template.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edge.procedure import Record
from server.report import Drafted, Report, Section, Sentence
from server.words import grounds, lexicon, values
from server.words.absent import FRAME
from server.words.checklist import Checklist, Item, Lists
from server.words.lexicon import Lexicon

Context = dict[str, Any]
FULL = "full"  # of `Times.effort_s`
NAMES_MOST = 400  # characters of names in one sentence


def draft(record: Record, language: str, profile: Lists) -> Report:
    """`profile`: what a report holds. Raises WordsError for a language without words."""
    return Report(
        device=record.heading.device,
        procedure=record.procedure,
        revision=record.revision,
        language=language,
        state="draft",
        drafted=Drafted(by="template"),
        sentences=sentences(record, language, profile),
    )


def sentences(record: Record, language: str, profile: Lists, *, together: bool = True) -> tuple[Sentence, ...]:
    """`together`: what is not recorded for the same reason is one sentence; if not, each item has its own."""
    words, environment = lexicon.of(language), _environment()
    context = _context(record, words, profile.of(record))
    context["absent"] = list(_absent(record, words, profile.of(record), language, together))
    said: list[Sentence] = []
    for section in get_args(Section):
        text = environment.get_template(f"{language}/{section}.txt.j2").render(context)
        for line in text.splitlines():
            cites, _, sentence = line.partition(" | ")
            said.append(
                Sentence(
                    id=f"S{len(said) + 1}",
                    section=section,
                    text=sentence[:1].upper() + sentence[1:],
                    cites=tuple(cites.split()),
                    by="template",
                )
            )
    return tuple(said)


@functools.cache
def _environment() -> Environment:
    """Plain text: nothing is escaped here, whoever shows it escapes."""
    return Environment(
        loader=FileSystemLoader(lexicon.FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,
    )


def prompt(name: str) -> str:
    """A prompt's template, as it is."""
    source, _, _ = _environment().loader.get_source(_environment(), name)  # type: ignore[union-attr]
    return source


def render(name: str, **context: object) -> str:
    return _environment().get_template(name).render(**context)


# ----------------------------------------------------------------------------------------------- what they say


def _context(record: Record, words: Lexicon, checklist: Checklist) -> Context:
    times, heading = record.times, record.heading
    return {
        "t": times.id,
        "pipeline": _term(words, "pipeline", heading.made_by.pipeline),
        "started": values.started(heading.started_at, heading.clock_trusted),
        "trusted": heading.clock_trusted,
        "state": record.state,
        "duration": _span(times.duration_s),
        "insertion": _span(times.insertion_s),
        "withdrawal": _span(times.withdrawal_s),
        "tool": _span(times.withdrawal_tool_s if _span(times.withdrawal_s) else None),
        "poor": _span(times.withdrawal_poor_s if _span(times.withdrawal_s) else None),
        "net": _span(grounds.net(record)),
        "thresholds": [
            {"of": one.of, "net": one.net, "below": one.below, "limit": values.span(one.at_least_s)}
            for one in grounds.thresholds(record, checklist)
        ],
        "interruptions": list(_interruptions(record, words)),
        "views": list(_views(record, words)),
        "efforts": list(_efforts(record, words)),
        "judgements": list(_judgements(record, words)),
        "landmarks": list(_landmarks(record, words)),
        "findings": list(_findings(record, words)),
        "counts": list(_counts(record, words)),
        "seen": list(_seen(record, words)),
        "more": grounds.more(record),
    }


def _span(value: float | None) -> str:
    known = values.seconds(value)
    return "" if known is None else values.span(known)


def _score(value: float, words: Lexicon) -> str:
    known = values.share(value)
    return "" if known is None else values.score(known, words.decimal)


def _term(words: Lexicon, kind: lexicon.Kind, label: str, announced: lexicon.Kind | None = None) -> str:
    """The language's own word, or the label in quotation marks; `announced`: with a word before it that says what."""
    if form := words.form(kind, label):
        return form
    quoted = words.quoted(values.plain(label))
    return f"{words.form('marker', announced)} {quoted}" if announced else quoted


def _interruptions(record: Record, words: Lexicon) -> Iterator[Context]:
    for one in record.interruptions[: values.LISTED]:
        start, end = values.seconds(one.from_s), values.seconds(one.to_s)
        known = start is not None and end is not None and end >= start
        yield {
            "id": one.id,
            "start": _span(start),
            "end": _span(end),
            "length": _span(one.to_s - one.from_s) if known else "",
            "state": _term(words, "signal", one.state),
        }


def _views(record: Record, words: Lexicon) -> Iterator[Context]:
    for name, value in list(record.times.view_s.items())[: values.LISTED]:
        if length := _span(value):
            yield {"name": _term(words, "view", name), "length": length}


def _efforts(record: Record, words: Lexicon) -> Iterator[Context]:
    """Where the box did less than all."""
    less = [(name, value) for name, value in record.times.effort_s.items() if name != FULL and value]
    for name, value in less[: values.LISTED]:
        if length := _span(value):
            yield {"name": _term(words, "effort", name), "length": length}


def _judgements(record: Record, words: Lexicon) -> Iterator[Context]:
    for one in record.judgements[: values.LISTED]:
        share = values.share(one.shares.get(one.label))
        yield {
            "id": one.id,
            "kind": _term(words, "judgement", one.kind, "judgement"),
            "label": _term(words, "verdict", one.label) if one.label else "",
            "share": values.percent(share, words.decimal) if one.label and share is not None else "",
            "views": "" if values.count(one.views) is None else str(one.views),
            "unsure": "" if values.count(one.unsure) is None else str(one.unsure),
        }


def _landmarks(record: Record, words: Lexicon) -> Iterator[Context]:
    for one in record.landmarks[: values.LISTED]:
        yield {
            "id": one.id,
            "kind": _term(words, "landmark", one.kind),
            "at": _span(one.first_seen_s),
            "score": _score(one.best_score, words),
        }


def _findings(record: Record, words: Lexicon) -> Iterator[Context]:
    for one in record.findings[: values.LISTED]:
        yield {
            "id": one.id,
            "label": _term(words, "finding", one.label, "finding"),
            "phase": words.form("phase", one.phase) if one.phase else "",
            "first": _span(one.first_seen_s),
            "last": _span(one.last_seen_s),
            "best": _span(one.best_seen_s),
            "score": _score(one.best_score, words),
            "alerted": one.alerted,
        }


def _counts(record: Record, words: Lexicon) -> Iterator[Context]:
    for label in list(dict.fromkeys(one.label for one in record.findings))[: values.LISTED]:
        ids = [one.id for one in record.findings if one.label == label]
        kind: lexicon.Kind = "finding" if len(ids) == 1 else "findings"
        yield {"ids": " ".join(ids), "number": len(ids), "label": _term(words, kind, label, kind)}


def _seen(record: Record, words: Lexicon) -> Iterator[Context]:
    """Landmarks by name, a few a sentence."""
    named = [(one.id, _term(words, "landmark", one.kind)) for one in record.landmarks[: values.LISTED]]
    for part in _parts(named, NAMES_MOST):
        yield {"ids": " ".join(id for id, _ in part), "kinds": ", ".join(name for _, name in part)}


def _parts(named: list[tuple[str, str]], most: int) -> Iterator[list[tuple[str, str]]]:
    """In order, so many that their names fit."""
    part: list[tuple[str, str]] = []
    for one in named:
        if part and sum(len(name) + 2 for _, name in [*part, one]) > most:
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _absent(record: Record, words: Lexicon, checklist: Checklist, language: str, together: bool) -> Iterator[Context]:
    """The list's items that the record lacks, those without a reason together; then what else the record names."""
    missing, told, most = checklist.missing(record), record.not_recorded, NAMES_MOST if together else 0
    for group in ("before", "during", "after"):
        silent = [item for item in missing if item.group == group and _reason(item, record) is None]
        for part in _parts([(item.key, item.name[language]) for item in silent], most):
            names = ", ".join(name for _, name in part)
            yield {"ids": record.times.id, "group": group if together else "", "names": names, "reason": ""}
    reasons: dict[str, list[tuple[str, str]]] = {}
    for item in missing:
        if (reason := _reason(item, record)) is not None:
            reasons.setdefault(reason, []).append((item.key, item.name[language]))
    for reason, named in reasons.items():
        for part in _parts(named, most):
            names = ", ".join(name for _, name in part)
            yield {"ids": record.times.id, "group": "", "names": names, "reason": _because(words, reason)}
    spoken = {key for item in missing for key in (item.key, item.why)}
    for key in [key for key in told if key not in spoken][: values.LISTED]:
        yield _extra(key, told[key], record, words)


def _reason(item: Item, record: Record) -> str | None:
    return record.not_recorded.get(item.key, record.not_recorded.get(item.why))


def _because(words: Lexicon, reason: str) -> str:
    return words.reason(reason) or words.quoted(values.plain(reason))


def _extra(key: str, reason: str, record: Record, words: Lexicon) -> Context:
    frame = FRAME.fullmatch(key)
    if frame and frame[1] in record.ids():
        ids, name = f"{record.times.id} {frame[1]}", f"{words.form('item', 'key_frame')} {frame[1]}"
    else:
        ids, name = record.times.id, words.form("item", key) or words.quoted(values.plain(key))
    return {"ids": ids, "group": "", "names": name, "reason": _because(words, reason)}
