"""The figures as one page that needs nothing else: tables, charts, and the pictures that went worst.

The page holds pictures of patients when the data do: it stays where it was asked for, and never goes into a repository.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2

from calibration.eval import failures, tables
from calibration.eval.evaluation import Result
from calibration.eval.plots import Axis, Chart, rounded_up
from calibration.eval.robustness import CORRUPTIONS, STRENGTHS
from calibration.eval.segmentation import Report
from calibration.eval.tables import Encodings, Row
from edge.errors import EdgeError

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 1220px; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { margin-top: 2.5rem; border-bottom: 2px solid #ddd } h3 { margin-bottom: .3rem }
table { border-collapse: collapse; margin: .5rem 0 1rem }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #eee }
th { text-align: left; font-weight: 600 } td { text-align: right; font-variant-numeric: tabular-nums }
td:first-child { text-align: left } small { color: #777 } .charts { display: flex; flex-wrap: wrap; gap: 1rem }
img { max-width: 100%; border: 1px solid #ccc }
"""
ABOUT = """Each figure is followed by its 95 % interval, from sets drawn again out of this one (whole patients,
sequences or videos where there are enough of them); rates a minute and shares of
lesions in videos have exact ones (Poisson, binomial). Dice and IoU are
means over the pictures that show a polyp, at probability 0.5. A mark is a region as the box finds it; it counts as a
lesion's when its centre lies in the lesion's box or the two overlap by a tenth. int8_trt and fp16_trt are the files
for TensorRT, here run by ONNX Runtime."""


def write(folder: Path, name: str, results: Sequence[Result]) -> Path:
    """`folder`/index.html. Raises EdgeError where it cannot be written."""
    sections = "\n".join(_section(result) for result in results)
    text = (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(name)}, evaluated</title>\n'
        f"<style>{STYLE}</style>\n<h1>{escape(name)}, evaluated</h1>\n<p>{ABOUT}</p>\n{sections}\n</html>\n"
    )
    path = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise EdgeError(f"{path}: cannot be written: {exc.strerror}") from exc
    return path


def _section(result: Result) -> str:
    report = result.report
    encodings: Encodings = report["encodings"]
    parts = [f"<h2>{escape(str(report['dataset']))} <small>{report['n']}</small></h2>"]
    parts.append(f"<p><code>{escape(report['command'])}</code></p>")
    for title, of_part, rows in tables.parts_of(report):
        parts.append(_figures(title, of_part, rows))
    if "by_size" in next(iter(encodings.values())):
        parts.append("<h3>by polyp size, share of the picture</h3>" + _table(["", *encodings], _sizes(encodings)))
    charts = "\n".join(chart.svg() for chart in _charts(encodings))
    parts.append(f'<div class="charts">\n{charts}\n</div>')
    parts += _confusions(encodings)
    parts += _robustness(encodings)
    if result.failures:
        parts.append("<h3>The pictures with the lowest Dice: true in green, marked in red</h3>")
        parts.append(f'<img alt="failures" src="data:image/jpeg;base64,{_encoded(failures.sheet(result.failures))}">')
    return "\n".join(parts)


def _figures(title: str, encodings: Encodings, rows: tuple[Row, ...]) -> str:
    lines = [
        [words, *(tables.cell(report, key, form) for report in encodings.values())]
        for words, key, form in rows
        if any(report.get(key) is not None for report in encodings.values())
    ]
    return (f"<h3>{escape(title)}</h3>" if title else "") + _table(["", *encodings], lines)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], shades: Callable[[str], str] | None = None) -> str:
    heads = "".join(f"<th>{escape(str(word))}</th>" for word in head)
    rows = []
    for first, *cells in lines:
        row = "".join(f'<td style="{shades(cell) if shades else ""}">{escape(cell)}</td>' for cell in cells)
        rows.append(f"<tr><td>{escape(first)}</td>{row}</tr>")
    return f"<table><tr>{heads}</tr>\n" + "\n".join(rows) + "</table>"


def _sizes(encodings: Encodings) -> list[list[str]]:
    return [
        [words, *(tables.cell(r, key, tables.SHARE) for r in of_size)]
        for words, key, of_size in tables.sizes_of(encodings)
    ]


def _charts(encodings: Encodings) -> Iterator[Chart]:
    first = next(iter(encodings.values()))
    if first.get("froc"):
        curves = {name: [(point[2], point[1]) for point in report["froc"]] for name, report in encodings.items()}
        most = max(point[0] for points in curves.values() for point in points)
        across = Axis("false marks a picture", 0, rounded_up(max(0.1, most)))
        yield Chart("Lesions found, FROC", across, Axis("share of lesions found"), curves)
    for key, title in (("reliability_pixel", "Reliability of pixels"), ("reliability_mark", "Reliability of marks")):
        if first.get(key):
            yield _reliability(title, {name: report[key] for name, report in encodings.items()})
    for head in first.get("heads", {}):
        of_head = {name: report["heads"][head]["reliability"] for name, report in encodings.items()}
        yield _reliability(f"Reliability of {head}", of_head)
    for name, report in encodings.items():
        video = report.get("video", report)
        if "curve" in video:
            yield _operating(name, video)


def _reliability(title: str, rows: dict[str, Any]) -> Chart:
    lines = {name: [(row[0], row[1]) for row in of_encoding] for name, of_encoding in rows.items()}
    return Chart(title, Axis("probability said"), Axis("share that was true"), lines, diagonal=True)


def _operating(name: str, video: Report) -> Chart:
    """Lesions found against false alerts; of a clip without lesions, false alerts against the score asked for."""
    curve, shipped = video["curve"], video["operating_point"]
    lines: dict[str, list[tuple[float, float]]] = {}
    marked = (0.0, 0.0)
    most = rounded_up(max(0.5, *(row["false_alerts_per_minute"] or 0 for row in curve)))
    for row in curve:
        false = row["false_alerts_per_minute"] or 0.0
        found = 1 - row["missed"] / video["lesions"] if video["lesions"] else 0.0
        point = (false, found) if video["lesions"] else (row["start_score"], false)
        lines.setdefault(f"{row['confirm']} frames to confirm", []).append(point)
        if (row["start_score"], row["confirm"]) == (shipped["start_score"], shipped["confirm"]):
            marked = point
    words = f"shipped: {shipped['start_score']}, {shipped['confirm']} of {shipped['window']}"
    rate, score = Axis("false alerts a minute", 0, most), Axis("score that starts a track", 0.5, 1)
    across, up = (rate, Axis("share of lesions alerted")) if video["lesions"] else (score, rate)
    title, falling = f"Alerts at every operating point, {name}", not video["lesions"]
    return Chart(title, across, up, lines, marked=(*marked, words), falling=falling)


def _confusions(encodings: Encodings) -> Iterator[str]:
    for head in next(iter(encodings.values())).get("heads", {}):
        for name, report in encodings.items():
            of_head = report["heads"][head]
            lines = [
                [label, *(str(count) for count in row)]
                for label, row in zip(of_head["labels"], of_head["confusion"], strict=True)
            ]
            yield f"<h3>{escape(head)}, {name}: true by row, said by column</h3>" + _table(
                ["", *of_head["labels"]], lines
            )


def _robustness(encodings: Encodings) -> Iterator[str]:
    for name, report in encodings.items():
        if "robustness" not in report:
            continue
        lines = [
            [
                corruption,
                *(
                    tables.cell(row, "dice", tables.SHARE)
                    for row in report["robustness"]
                    if row["corruption"] == corruption
                ),
            ]
            for corruption in CORRUPTIONS
        ]
        yield f"<h3>Dice when pictures are worse, {name}</h3>" + _table(
            ["", *(f"strength {strength}" for strength in STRENGTHS)], lines, _shade
        )


def _shade(cell: str) -> str:
    """Red for a low Dice, green for a high one."""
    try:
        value = float(cell.split()[0])
    except ValueError:
        return ""
    return f"background: hsl({max(0, min(120, (value - 0.3) / 0.6 * 120)):.0f} 70% 85%)"


def _encoded(picture: Any) -> str:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return base64.b64encode(data.tobytes()).decode("ascii")
