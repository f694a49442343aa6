"""endoedge-model eval"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
from rich.console import Console
from rich.progress import Progress

from calibration.cli.shared import console, progress_bars
from calibration.eval import page, subjects, tables
from calibration.eval.evaluation import Evaluation, Result, truth_of
from calibration.eval.spoilt import of_spoilt
from calibration.eval.video import NO_POLYPS
from edge.errors import UsageError

NAMED = ("NAME", "PATH")
PIPELINE = "colonoscopy"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, help="folder with fp32.onnx, int8.onnx, int8_trt.onnx; what is missing is said"
    )
    add = parser.add_argument
    add("--dataset", nargs=2, action="append", default=[], metavar=NAMED, help="a public layout and its folder")
    add("--split", choices=("train", "val", "test", "all"), help="of the datasets (val and test; all where none is)")
    add("--phantom", action="append", default=[], metavar="SEED:COUNT", help="pictures of the software colon")
    add("--spoilt", nargs=3, action="append", default=[], metavar=("HEAD", *NAMED), help="a layout, spoilt for a head")
    add("--video", nargs=2, action="append", default=[], metavar=NAMED, help="a phantom's clip, its truth beside it")
    add("--negative-video", nargs=2, action="append", default=[], metavar=NAMED, help="a clip without any polyp")
    add("--pipeline", default=PIPELINE, metavar="NAME", help="whose operating point is judged (colonoscopy)")
    add("--robustness", action="store_true", help="also on pictures made worse: 12 ways, 3 strengths")
    add("--speed", action="store_true", help="milliseconds, megabytes, multiply-adds")
    add("--json", action="store_true", help="one JSON object a line: dataset, n, encodings")
    add("--page", type=Path, metavar="DIR", help="write index.html there: plots, and the pictures that went worst")


def run(options: argparse.Namespace) -> int:
    """How good a model is, all encodings side by side, with 95 % intervals."""
    asked = (options.dataset, options.phantom, options.spoilt, options.video, options.negative_video, options.speed)
    if not any(asked):
        raise UsageError(
            "nothing to judge by: give --dataset, --phantom, --spoilt, --video, --negative-video or --speed"
        )
    cv2.setNumThreads(1)
    said = Console(stderr=True)
    shown = said if options.json else console
    evaluation = Evaluation(options.model, options.pipeline, lambda note: said.print(note, soft_wrap=True))
    results = []
    with progress_bars(shown) as progress:
        for result in _results(options, evaluation, progress):
            results.append(result)
            if options.json:
                print(json.dumps(result.report), flush=True)
            else:
                for table in tables.tables_of(result.report):
                    shown.print(table)
    if options.page:
        said.print(f"page: {page.write(options.page, options.model.name, results)}", soft_wrap=True)
    return 0


def _results(options: argparse.Namespace, evaluation: Evaluation, progress: Progress) -> Iterator[Result]:
    """In the order of the options; everything that can be checked is, before the first picture is looked at."""
    split = ["--split", options.split] if options.split else []
    worse = ["--robustness"] if options.robustness else []
    sets = [
        (["--dataset", name, path, *split, *worse], subjects.of_dataset(name, Path(path), options.split))
        for name, path in options.dataset
    ]
    sets += [(["--phantom", text, *worse], subjects.of_phantom(text)) for text in options.phantom]
    side = next(iter(evaluation.runners.values())).side
    sets += [
        (["--spoilt", head, name, path, *split], of_spoilt(head, name, Path(path), options.split, side))
        for head, name, path in options.spoilt
    ]
    clips = [("--video", name, path, truth_of(Path(path))) for name, path in options.video]
    clips += [("--negative-video", name, path, NO_POLYPS) for name, path in options.negative_video]
    for _, subject in sets:
        evaluation.judge.check(subject)

    def command(words: Sequence[str]) -> str:
        pipeline = [] if options.pipeline == PIPELINE else ["--pipeline", options.pipeline]
        return shlex.join(["endoedge-model", "eval", str(options.model), *words, *pipeline])

    for words, subject in sets:
        bar = _bar(progress, subject.name)
        yield evaluation.pictures(command(words), subject, bar, robustness=options.robustness)
    for option, name, path, truth in clips:
        yield evaluation.video(command([option, name, path]), name, Path(path), truth, _bar(progress, name))
    if options.speed:
        yield evaluation.speed(command(["--speed"]))


def _bar(progress: Progress, name: str) -> Callable[[int, int], None]:
    task = progress.add_task(name, total=None)

    def moved(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total or None, visible=done != total)

    return moved
