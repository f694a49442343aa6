"""`endoedge-server eval`: how good drafts are, and how well the check keeps them so.

    endoedge-server eval [--records DIR | --count N --seed N] [--language en] [--json]
                         [--endpoint URL --model NAME]

DIR has a folder for each procedure, with `record.json` and, where there are, `frames/SHA256.jpg` and the signed
`report.json` (as `tools.export_example` writes them). Without DIR: invented records, the same for the same seed.
Exit code 1 when a sentence without support stands or an item of a list is left out in the template's reports.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from edge.errors import ConfigError
from edge.procedure import Record
from server.config import Draft
from server.errors import ServerError
from server.report import Report
from server.words import checklist, lexicon, specimens, template, trials, wording
from server.words.check import Check
from server.words.checklist import Lists
from server.words.endpoint import Endpoint
from server.words.measure import Figures, distance
from server.words.perturb import PERTURBATIONS, Case, picture

Rates = dict[str, Any]
LEGEND = (
    "told: facts of the record in the report. struck: sentences without support, before the check. "
    "false: after it. left out: items of the list, neither filled nor said to be missing. "
    "used: the model's answers that were not replaced by the template. edited: words, draft to signed."
)


class Procedure(NamedTuple):
    case: Case
    signed: Report | None = None


class Trialled(NamedTuple):
    """The check against sentences of which it is known whether they hold."""

    lies: int
    stood: Counter[str]  # by kind
    truths: int
    fell: int


# ----------------------------------------------------------------------------------------------- procedures


def invented(count: int, seed: int) -> Iterator[Procedure]:
    """Every fourth with labels and figures that no box should send."""
    for number in range(count):
        yield Procedure(Case(specimens.record(seed + number, hostile=number % 4 == 3), picture))


def read(folder: Path) -> Iterator[Procedure]:
    """Raises ServerError for a folder without records and for a file that is none."""
    files = sorted(folder.rglob("record.json"))
    if not files:
        raise ServerError(f"{folder}: expected a record.json in it or below")
    for file in files:
        signed = file.with_name("report.json")
        frames = file.parent / "frames"

        def frame(digest: str, frames: Path = frames) -> bytes | None:
            kept = frames / f"{digest}.jpg"
            return kept.read_bytes() if kept.is_file() else None

        yield Procedure(Case(_decoded(file, Record), frame), _decoded(signed, Report) if signed.exists() else None)


def _decoded(file: Path, form: type[Any]) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes(), type=form)
    except OSError as exc:
        raise ServerError(f"{file}: {exc.strerror}") from exc
    except msgspec.DecodeError as exc:
        raise ServerError(f"{file}: {exc}") from exc


# ----------------------------------------------------------------------------------------------- measuring


def evaluate(
    procedures: Sequence[Procedure], language: str, lists: Lists, endpoint: Endpoint | None
) -> dict[str, Figures]:
    """By who writes and what is done to it. Raises WordsError."""
    found: dict[str, Figures] = {}
    for who in ("template", "model") if endpoint else ("template",):
        for name, change in PERTURBATIONS.items():
            figures = found[f"{who}, {name}"] = Figures()
            for procedure in procedures:
                case = change(procedure.case)
                report = template.draft(case.record, language, lists)
                if who == "model" and endpoint is not None:
                    report = wording.word(case.record, report, case.frames, endpoint, lists)
                    figures.asked += 1
                figures.add(case.record, report, lists)
                if procedure.signed is not None and name == "as it is" and procedure.signed.language == language:
                    figures.edits.append(distance(report, procedure.signed))
    return found


def tried(procedures: Sequence[Procedure], language: str, lists: Lists, seed: int) -> Trialled:
    """Raises WordsError."""
    chance = random.Random(seed)
    lies = truths = fell = 0
    stood: Counter[str] = Counter()
    for procedure in procedures:
        record = procedure.case.record
        check, sentences = Check(record, lists, language), template.sentences(record, language, lists)
        for one in trials.lies(record, sentences, language, chance):
            lies += 1
            stood[one.kind] += not check.sentence(one.text, one.cites).struck
        for one in trials.truths(sentences, language):
            truths += 1
            fell += bool(check.sentence(one.text, one.cites).struck)
    return Trialled(lies, stood, truths, fell)


# ------------------------------------------------------------------------------------------------- printing


def _shown(value: float | int | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.1%}"


def _table(language: str, rows: dict[str, Rates]) -> Table:
    table = Table(title=f"Drafts, {lexicon_name(language)}")
    heads = {
        "reports": "reports",
        "fact_recall": "told",
        "unsupported_before": "struck",
        "unsupported_after": "false",
        "omitted": "left out",
        "valid": "used",
        "edit_distance": "edited",
    }
    table.caption = LEGEND
    table.add_column("", no_wrap=True)
    for head in heads.values():
        table.add_column(head, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(_shown(row[key]) for key in heads))
    return table


def _trial_table(results: dict[str, Trialled]) -> Table:
    table = Table(title="The check, on sentences of which it is known whether they hold")
    for head in ("language", "lies", "stood", "other words for the same", "fell"):
        table.add_column(head, justify="left" if head == "language" else "right")
    for language, one in results.items():
        stood = sum(one.stood.values())
        fell = _shown(one.fell / one.truths if one.truths else None)
        table.add_row(lexicon_name(language), str(one.lies), str(stood), str(one.truths), fell)
    return table


def lexicon_name(language: str) -> str:
    return {"en": "English", "de": "German"}.get(language, language)


# ----------------------------------------------------------------------------------------------- the command


def run(options: argparse.Namespace) -> int:
    """Raises EdgeError."""
    lists, endpoint = checklist.load(), _endpoint(options)
    procedures = list(read(options.records) if options.records else invented(options.count, options.seed))
    languages = options.language or list(lexicon.LANGUAGES)
    figures = {language: evaluate(procedures, language, lists, endpoint) for language in languages}
    trialled = {language: tried(procedures, language, lists, options.seed) for language in languages}
    rows = {language: {name: one.rates() for name, one in of.items()} for language, of in figures.items()}
    if options.json:
        print(msgspec.json.format(msgspec.json.encode({"drafts": rows, "check": _plain(trialled)}), indent=1).decode())
    else:
        _print(rows, trialled)
    templates = [one for of in figures.values() for name, one in of.items() if name.startswith("template")]
    bad = sum(one.false + one.omitted for one in templates) + sum(sum(one.stood.values()) for one in trialled.values())
    return 1 if bad else 0


def _plain(trialled: dict[str, Trialled]) -> dict[str, Rates]:
    return {language: one._asdict() | {"stood": dict(one.stood)} for language, one in trialled.items()}


def _print(rows: dict[str, dict[str, Rates]], trialled: dict[str, Trialled]) -> None:
    console = Console()
    for language, of in rows.items():
        console.print(_table(language, of))
        fallbacks = sum((Counter(row["fallbacks"]) for row in of.values()), Counter[str]())
        for reason, count in fallbacks.most_common():
            console.print(f"  the template had to do {count} times: {reason}", highlight=False)
    console.print(_trial_table(trialled))


def _endpoint(options: argparse.Namespace) -> Endpoint | None:
    """Raises ConfigError."""
    if bool(options.endpoint) != bool(options.model):
        raise ConfigError("--endpoint and --model: expected both or none")
    if not options.endpoint:
        return None
    given = {
        "url": options.endpoint.rstrip("/"),
        "model": options.model,
        "key_file": options.key_file,
        "timeout_s": options.timeout,
        "tokens_most": options.tokens,
        "frames_most": options.frames,
    }
    try:
        return Endpoint(msgspec.convert(given, Draft))
    except msgspec.ValidationError as exc:
        raise ConfigError(f"--endpoint: {exc}") from exc


def add_options(parser: argparse.ArgumentParser) -> None:
    defaults = Draft()
    parser.add_argument("--records", type=Path, metavar="DIR", help="procedures; without it, invented ones")
    parser.add_argument("--count", type=int, default=50, help="how many are invented (50)")
    parser.add_argument("--seed", type=int, default=1, help="of what is invented (1)")
    parser.add_argument("--language", action="append", choices=lexicon.LANGUAGES, help="all of ours without it")
    parser.add_argument("--endpoint", default="", metavar="URL", help='an OpenAI-compatible API, ".../v1"')
    parser.add_argument("--model", default="", metavar="NAME")
    parser.add_argument("--key-file", default="", metavar="FILE", help="the API's key")
    parser.add_argument("--timeout", type=float, default=defaults.timeout_s, metavar="S")
    parser.add_argument("--tokens", type=int, default=defaults.tokens_most, metavar="N", help="at most, in an answer")
    parser.add_argument("--frames", type=int, default=defaults.frames_most, metavar="N", help="at most, in a request")
    parser.add_argument("--json", action="store_true", help="for machines")
