"""The model card: what people say of a model, and what was measured of it, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from calibration.build import Build, Calibration
from calibration.evidence import portable
from edge.types import Manifest, Measurement, Precision, Struct

COLUMNS: dict[Precision, str] = {
    "fp32": "FP32",
    "int8": "INT8",
    "int8_trt": "INT8, TensorRT's form",
    "fp16_trt": "FP16, TensorRT's form",
}
WHOLE = "Polyps, and the model as a whole"


class Description(Struct, frozen=True, kw_only=True):
    """`calibration/releases/NAME.toml`: what people say of a model, as opposed to what was measured."""

    version: str
    labels: list[str]  # of the polyp head
    licence: str
    training_data: list[str]
    title: str
    summary: str
    intended_use: str
    known_failures: list[str]
    made_by: list[str]  # the commands


def card(manifest: Manifest, words: Description, build: Build, worse: Sequence[Measurement]) -> str:
    """`MODEL_CARD.md`. `worse`: the figures on pictures made worse on purpose."""
    sections: tuple[tuple[str, Iterator[str]], ...] = (
        ("Intended use", iter([words.intended_use])),
        ("Known failures", _list(words.known_failures)),
        ("Says", _heads(manifest)),
        ("Measured", _measured(manifest.measured)),
        ("On pictures made worse", _table(worse)),
        ("Training data", _list(words.training_data)),
        ("Licence", iter([words.licence])),
        ("Quantised", _quantised(build.calibration)),
        ("Files", _files(manifest)),
        ("Made by", _made_by(manifest.name, words, build)),
    )
    lines = [f"# {manifest.name}, version {manifest.version}", "", words.title, "", words.summary.strip(), ""]
    for title, content in sections:
        body = list(content)
        if body:
            lines += [f"## {title}", *body, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _list(points: Sequence[str]) -> Iterator[str]:
    return (f"- {point}" for point in points)


def _heads(manifest: Manifest) -> Iterator[str]:
    yield "| head | kind | output | labels |"
    yield "|---|---|---|---|"
    for head in manifest.heads:
        yield f"| {head.name} | {head.kind} | `{head.output}` | {', '.join(head.labels)} |"


def _measured(rows: Sequence[Measurement]) -> Iterator[str]:
    yield (
        "With 95 % intervals where there is one, on pictures that nothing was trained on."
        " The files in TensorRT's form were run by ONNX Runtime on a CPU."
    )
    for head in dict.fromkeys(row.head for row in rows):
        of_head = [row for row in rows if row.head == head]
        yield from ("", f"### {f'Head {head}' if head else WHOLE}")
        yield from _table(of_head)
        yield from ("", "Printed by (paths relative to wherever the data lies):", "```")
        yield from dict.fromkeys(row.command for row in of_head)
        yield "```"


def _table(rows: Sequence[Measurement]) -> Iterator[str]:
    """The data set is named where it changes."""
    if not rows:
        return
    named = ""
    yield f"| on | figure | {' | '.join(COLUMNS.values())} |"
    yield "|---|---|" + "---|" * len(COLUMNS)
    for row in rows:
        on = f"{row.dataset} ({row.n})"
        cells = (_cell(row, precision) for precision in COLUMNS)
        yield f"| {'' if on == named else on} | {row.metric} | {' | '.join(cells)} |"
        named = on


def _cell(row: Measurement, precision: Precision) -> str:
    value: float | None = getattr(row, precision)
    if value is None:
        return "–"
    interval = row.ci95.get(precision)
    return _number(value) + (f" [{_number(interval[0])}, {_number(interval[1])}]" if interval else "")


def _number(value: float) -> str:
    value = round(value, 4) + 0.0  # no minus before a zero
    return str(int(value)) if value == int(value) and abs(value) >= 2 else f"{value:.4f}".rstrip("0").rstrip(".")


def _files(manifest: Manifest) -> Iterator[str]:
    yield "| file | sha256 |"
    yield "|---|---|"
    for file in manifest.files.values():
        yield f"| `{file.path}` | `{file.sha256}` |"
    yield f"| `{manifest.golden.path}` | `{manifest.golden.sha256}` |"
    yield ""
    yield "`endoedge check` runs the pictures of `golden.npz` and says how far its answers are from those in there."


def _quantised(said: Calibration) -> Iterator[str]:
    typed, agree = said.tensorrt, said.agreement
    yield (
        f"Ranges by {said.method} on {said.pictures} training pictures. By TensorRT's rules {typed.int8_convolutions}"
        f" convolutions run in INT8 and {len(typed.float_convolutions)} in float. The two INT8 files agree within one"
        f" step on {agree.within_one_step:.1%} of the cells, Dice {agree.dice:.4f}."
    )
    if said.left_in_float:
        yield from (
            "",
            "Left in float:",
            *(f"- {one.layer}: {one.reason} ({one.measured:.3g})" for one in said.left_in_float),
        )


def _made_by(name: str, words: Description, build: Build) -> Iterator[str]:
    run = build.run
    yield (
        f"Recipe {run.recipe} at revision {run.revision}, {run.seconds / 60:.0f} minutes of training on {run.device},"
        f" with {', '.join(f'{package} {version}' for package, version in run.versions.items())}."
    )
    yield from ("", *(f"- {given}: sha256 `{digest}`" for given, digest in run.sha256.items()))
    commands = [*words.made_by, *(portable(record.command, name) for record in build.records)]
    yield from ("", "```", *dict.fromkeys(commands), "```")
