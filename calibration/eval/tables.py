"""The figures for people: a few tables, one column an encoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from calibration.eval.robustness import CORRUPTIONS, STRENGTHS
from calibration.eval.segmentation import SIZES, Report

# Row's words, JSON key, and how the number is written.
NARROW = "\n{}–{}"  # an interval under its figure: four encodings fit a narrow terminal
NARROW_SIGNED = "\n{} to\n{}"
SHARE, COUNT, RATE, CHANGE = "{:.3f}", "{:.0f}", "{:.2f}", "{:+.4f}"
Row = tuple[str, str, str]
PICTURES: tuple[Row, ...] = (
    ("mean Dice, pictures with polyps", "dice", SHARE),
    ("mean IoU", "iou", SHARE),
    ("Dice minus FP32's", "dice_minus_fp32", CHANGE),
    ("teacher's Dice", "teacher_dice", SHARE),
    ("Dice minus the teacher's", "dice_minus_teacher", CHANGE),
    ("pictures with polyps where one was marked", "picture_sensitivity", SHARE),
    ("pictures without polyps left clean", "picture_specificity", SHARE),
    ("lesions found", "lesion_sensitivity", SHARE),
    ("marks that are lesions", "mark_precision", SHARE),
    ("false marks a picture", "false_marks_per_picture", RATE),
    ("average precision of boxes, IoU 0.5", "ap50", SHARE),
    ("calibration error, pixels", "ece_pixel", SHARE),
    ("calibration error, marks", "ece_mark", SHARE),
)
VIDEO: tuple[Row, ...] = (
    ("minutes", "minutes", RATE),
    ("alerts", "alerts", COUNT),
    ("false alerts", "false_alerts", COUNT),
    ("false alerts a minute", "false_alerts_per_minute", RATE),
    ("lesions", "lesions", COUNT),
    ("lesions missed", "missed", COUNT),
    ("median milliseconds to the first detection", "first_detection_delay_ms", COUNT),
    ("median milliseconds to the alert", "alert_delay_ms", COUNT),
)
SPEED: tuple[Row, ...] = (
    ("milliseconds a picture, 1 thread", "milliseconds_1_thread", RATE),
    ("times as fast as FP32, 1 thread", "times_as_fast_as_fp32_1_thread", RATE),
    ("milliseconds a picture, 2 threads", "milliseconds_2_threads", RATE),
    ("times as fast as FP32, 2 threads", "times_as_fast_as_fp32_2_threads", RATE),
    ("megabytes", "megabytes", RATE),
    ("multiply-adds a picture, 10⁹", "gmac", RATE),
)
HEAD: tuple[Row, ...] = (
    ("balanced accuracy", "balanced_accuracy", SHARE),
    ("macro F1", "macro_f1", SHARE),
    ("Matthews' correlation", "mcc", SHARE),
    ("quadratically weighted kappa", "qwk", SHARE),
    ("calibration error", "ece", SHARE),
)

Encodings = Mapping[str, Report]
CONFUSED = "int8_cpu"


def parts_of(result: Report) -> Iterator[tuple[str, Encodings, tuple[Row, ...]]]:
    """The simple tables of one result: what it is about, figures by encoding, and rows."""
    encodings: Encodings = result["encodings"]
    first = next(iter(encodings.values()))
    for rows in (PICTURES, VIDEO, SPEED):
        if rows[0][1] in first:
            yield "", encodings, rows
    if "video" in first:
        yield "as videos", {name: report["video"] for name, report in encodings.items()}, VIDEO
    for head in first.get("heads", {}):
        yield head, {name: report["heads"][head] for name, report in encodings.items()}, HEAD


def tables_of(result: Report) -> list[Table]:
    """All tables of one result, as `evaluation` makes it."""
    encodings: Encodings = result["encodings"]
    first = next(iter(encodings.values()))
    name = f"{result['dataset']} ({result['n']})"
    found = [_table(f"{name}: {part}" if part else name, of_part, rows) for part, of_part, rows in parts_of(result)]
    if "by_size" in first:
        found.append(_sizes(f"{name}: by polyp size, share of the picture", encodings))
    for head in first.get("heads", {}):
        of_head = {encoding: report["heads"][head] for encoding, report in encodings.items()}
        found += [_labels(f"{name}: {head}, F1 of each label", of_head), _confusion(f"{name}: {head}", of_head)]
    if "robustness" in first:
        found.append(_robustness(f"{name}: Dice when pictures are worse", encodings))
    return found


def cell(report: Report, key: str, form: str, interval_form: str = " [{}, {}]") -> str:
    """A figure and its interval."""
    value = report.get(key)
    if value is None:
        return "–"
    interval = report.get(f"{key}_ci95")
    if interval is None:
        return form.format(value)
    return form.format(value) + interval_form.format(*map(form.format, interval))


def _headed(title: str, words: str, names: Mapping[str, Any]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(words, min_width=20)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _table(title: str, encodings: Encodings, rows: tuple[Row, ...]) -> Table:
    table = _headed(title, "with 95 % intervals", encodings)
    for words, key, form in rows:
        if any(report.get(key) is not None for report in encodings.values()):
            interval = NARROW_SIGNED if form == CHANGE else NARROW
            table.add_row(words, *(cell(report, key, form, interval) for report in encodings.values()))
    return table


def sizes_of(encodings: Encodings) -> Iterator[tuple[str, str, list[Report]]]:
    """Rows of the table by size: words, key, and each encoding's figures."""
    for name, low, high in SIZES:
        reports = [report["by_size"][name] for report in encodings.values()]
        bounds = f"{name}, {low:.0%} to {min(high, 1):.0%}"
        yield f"{bounds}: {reports[0]['pictures']} pictures, Dice", "dice", reports
        yield f"{bounds}: {reports[0]['lesions']} lesions, found", "lesion_sensitivity", reports


def _sizes(title: str, encodings: Encodings) -> Table:
    table = _headed(title, "size", encodings)
    for words, key, reports in sizes_of(encodings):
        table.add_row(words, *(cell(report, key, SHARE, NARROW) for report in reports))
    return table


def _labels(title: str, encodings: Encodings) -> Table:
    table = _headed(title, "label", encodings)
    for label in next(iter(encodings.values()))["f1"]:
        table.add_row(label, *(cell(report["f1"][label], "f1", SHARE, NARROW) for report in encodings.values()))
    return table


def _confusion(title: str, encodings: Encodings) -> Table:
    """Of the box's own encoding where it is there: what is true by row, what was said by column."""
    name = CONFUSED if CONFUSED in encodings else list(encodings)[-1]
    report = encodings[name]
    table = _headed(f"{title}, {name}: true by row, said by column", "true", dict.fromkeys(report["labels"]))
    for label, row in zip(report["labels"], report["confusion"], strict=True):
        table.add_row(label, *(str(count) for count in row))
    return table


def _robustness(title: str, encodings: Encodings) -> Table:
    named = {name: report["robustness"] for name, report in encodings.items() if "robustness" in report}
    table = Table(title=title, title_justify="left")
    table.add_column("made worse", min_width=12)
    for name in named:
        for strength in STRENGTHS:
            table.add_column(f"{name} {'●' * strength}", justify="right")
    for corruption in CORRUPTIONS:
        dices = [row["dice"] for rows in named.values() for row in rows if row["corruption"] == corruption]
        table.add_row(corruption, *(SHARE.format(dice) if dice is not None else "–" for dice in dices))
    return table
