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
from calibration.encodings import FILES
from calibration.eval import page, subjects, tables, teacher
from calibration.eval.evaluation import Evaluation, Result, truth_of
from calibration.eval.spoilt import of_spoilt
from calibration.eval.subjects import Subject
from calibration.eval.video import NO_POLYPS
from edge.errors import UsageError

NAMED = ("NAME", "PATH")
PIPELINE = "colonoscopy"
TEACHER_SIDES = (256,)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help=f"folder with {', '.join(FILES.values())}; what is missing is said")
    add = parser.add_argument
    add("--dataset", nargs=2, action="append", default=[], metavar=NAMED, help="a public layout and its folder")
    add("--split", choices=("train", "val", "test", "all"), help="of the datasets (val and test; all where none is)")
    add("--phantom", action="append", default=[], metavar="SEED:COUNT", help="pictures of the software colon")
    add("--spoilt", nargs=3, action="append", default=[], metavar=("HEAD", *NAMED), help="a layout, spoilt for a head")
    add("--video", nargs=2, action="append", default=[], metavar=NAMED, help="a phantom's clip, its truth beside it")
    add("--negative-video", nargs=2, action="append", default=[], metavar=NAMED, help="a clip without any polyp")
    add("--pipeline", default=PIPELINE, metavar="NAME", help="whose operating point is judged (colonoscopy)")
    add(
        "--teacher",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a net of the ensemble to compare with",
    )
    add("--teacher-side", type=int, action="append", metavar="PX", help="its input sides (256); give all of them")
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
    sets = _sets(options, next(iter(evaluation.runners.values())).side)
    clips = [("--video", name, path, truth_of(Path(path))) for name, path in options.video]
    clips += [("--negative-video", name, path, NO_POLYPS) for name, path in options.negative_video]
    for _, subject in sets:
        evaluation.judge.check(subject)
    taught_by = teacher.opened(options.teacher, options.teacher_side or TEACHER_SIDES) if options.teacher else None

    def command(words: Sequence[str]) -> str:
        pipeline = [] if options.pipeline == PIPELINE else ["--pipeline", options.pipeline]
        return shlex.join(["endoedge-model", "eval", str(options.model), *words, *pipeline])

    for words, subject in sets:
        bar = _bar(progress, subject.name)
        yield evaluation.pictures(command(words), subject, bar, robustness=options.robustness, teacher=taught_by)
    for option, name, path, truth in clips:
        yield evaluation.video(command([option, name, path]), name, Path(path), truth, _bar(progress, name))
    if options.speed:
        yield evaluation.speed(command(["--speed"]))


def _sets(options: argparse.Namespace, side: int) -> list[tuple[list[str], Subject]]:
    """What is asked for, and the words that ask for just that. `side`: of the model's input."""
    split = ["--split", options.split] if options.split else []
    more = ["--robustness"] if options.robustness else []
    more += [word for file in options.teacher for word in ("--teacher", str(file))]
    more += [word for px in options.teacher_side or () for word in ("--teacher-side", str(px))]
    return [
        *(
            (["--dataset", name, path, *split, *more], subjects.of_dataset(name, Path(path), options.split))
            for name, path in options.dataset
        ),
        *((["--phantom", text, *more], subjects.of_phantom(text)) for text in options.phantom),
        *(
            (["--spoilt", head, name, path, *split], of_spoilt(head, name, Path(path), options.split, side))
            for head, name, path in options.spoilt
        ),
    ]


def _bar(progress: Progress, name: str) -> Callable[[int, int], None]:
    task = progress.add_task(name, total=None)

    def moved(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total or None, visible=done != total)

    return moved
