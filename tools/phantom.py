#!/usr/bin/env python3
"""Draw the software colon: clips with truth, training pictures, a contact sheet, and how fast it renders."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from edge.errors import EdgeError, UsageError
from edge.phantom import Script, Truth, frame, training_pictures, write_clip

console = Console(stderr=True)
SHEET_COLUMNS = 6
BENCH_FRAMES = 100


def main(arguments: list[str] | None = None) -> int:
    """0 done, 1 fault, 2 usage."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except EdgeError as exc:
        console.print(f"[red]error:[/red] {exc}", highlight=False, soft_wrap=True)
        return exc.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    script = argparse.ArgumentParser(add_help=False)
    script.add_argument("--seed", type=int, default=1)
    script.add_argument("--fps", type=int, default=25)
    script.add_argument("--seconds", type=float, default=30.0)
    script.add_argument("--size", type=_size, default=(640, 512), metavar="WxH", help="default 640x512")
    script.add_argument("--shape", choices=("octagon", "round"), default="octagon")
    script.add_argument("--no-passages", dest="passages", action="store_false", help="good mucosa from end to end")
    clip = commands.add_parser("clip", parents=[script], help="a video, and its truth beside it as .jsonl")
    clip.add_argument("out", type=Path, metavar="OUT.mkv")
    clip.set_defaults(run=_clip)
    sheet = commands.add_parser("sheet", parents=[script], help="one picture of a whole clip, with its truth drawn in")
    sheet.add_argument("out", type=Path, metavar="OUT.png")
    sheet.add_argument("-n", type=int, default=36, help="frames on the sheet (36)")
    sheet.set_defaults(run=_sheet)
    pictures = commands.add_parser("pictures", help="training pictures with masks, as NNNNN.png and NNNNN_mask.png")
    pictures.add_argument("folder", type=Path)
    pictures.add_argument("-n", type=int, default=100)
    pictures.add_argument("--seed", type=int, default=1)
    pictures.set_defaults(run=_pictures)
    bench = commands.add_parser("bench", parents=[script], help="frames per second of rendering")
    bench.set_defaults(run=_bench)
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def _script(options: argparse.Namespace) -> Script:
    return Script(
        seed=options.seed,
        fps=options.fps,
        seconds=options.seconds,
        width=options.size[0],
        height=options.size[1],
        shape=options.shape,
        passages=options.passages,
    )


def _clip(options: argparse.Namespace) -> None:
    truth = options.out.with_suffix(".jsonl")
    with Progress(console=console) as progress:
        task = progress.add_task("rendering", total=None)
        write_clip(
            _script(options),
            options.out,
            truth,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    print(options.out, truth, sep="\n")


def _sheet(options: argparse.Namespace) -> None:
    script = _script(options)
    if options.n < 1:
        raise UsageError(f"-n {options.n}: expected 1 or more frames")
    count = min(options.n, script.frames)
    wanted = [int((index + 0.5) * script.frames / count) for index in range(count)]
    tiles = [_annotated(*frame(script, index)) for index in _tracked(wanted, "rendering")]
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % SHEET_COLUMNS)
    rows = [np.hstack(tiles[at : at + SHEET_COLUMNS]) for at in range(0, len(tiles), SHEET_COLUMNS)]
    _save(options.out, np.vstack(rows))
    print(options.out)


def _annotated(rgb: NDArray[np.uint8], truth: Truth) -> NDArray[np.uint8]:
    """One tile: outlines of the polyps, and what is true of the frame."""
    picture = rgb.copy()
    font, green, yellow = cv2.FONT_HERSHEY_SIMPLEX, (60, 255, 60), (255, 230, 60)
    for polyp in truth.polyps:
        mask = polyp.mask(*rgb.shape[:2]).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, green, 1)
        at = (polyp.box[0], max(14, polyp.box[1] - 5))
        cv2.putText(picture, f"{polyp.id} {polyp.paris} {polyp.visible:.0%}", at, font, 0.5, green, 1, cv2.LINE_AA)
    text = f"{truth.media_ns / 1e9:.2f} s {truth.view.value} {truth.reason}"
    cv2.putText(picture, text, (8, rgb.shape[0] - 10), font, 0.5, yellow, 1, cv2.LINE_AA)
    half = (rgb.shape[1] * 2 // 3, rgb.shape[0] * 2 // 3)
    return np.asarray(cv2.resize(picture, half, interpolation=cv2.INTER_AREA), np.uint8)


def _pictures(options: argparse.Namespace) -> None:
    if options.n < 1:
        raise UsageError(f"-n {options.n}: expected 1 or more pictures")
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise EdgeError(f"{options.folder}: cannot make the folder ({exc.strerror})") from exc
    made = zip(_tracked(range(options.n), "rendering"), training_pictures(options.seed, options.n), strict=True)
    for index, (rgb, mask, _) in made:
        _save(options.folder / f"{index:05d}.png", rgb)
        _save(options.folder / f"{index:05d}_mask.png", mask.astype(np.uint8) * 255)
    print(options.folder)


def _bench(options: argparse.Namespace) -> None:
    """Frames of mucosa, spread over the clip, on one core; processor time, so that a busy machine does not matter."""
    script = _script(options)
    cv2.setNumThreads(1)
    started = time.process_time()
    frame(script, 0)
    setup = time.process_time() - started
    wanted = np.linspace(0.1, 0.9, BENCH_FRAMES) * script.frames
    started, wall = time.process_time(), time.monotonic()
    for index in wanted.astype(int).tolist():
        frame(script, index)
    spent, wall = time.process_time() - started, time.monotonic() - wall
    print(f"set-up {setup:.2f} s of one core")
    each = spent / BENCH_FRAMES
    print(f"{BENCH_FRAMES} frames {script.width}x{script.height}: {each * 1000:.1f} ms a frame of one core's time")
    print(f"{1 / each:.1f} fps of one core, {BENCH_FRAMES / wall:.1f} fps on the clock")


def _tracked(wanted: list[int] | range, text: str) -> Iterator[int]:
    with Progress(console=console) as progress:
        yield from progress.track(wanted, description=text)


def _save(path: Path, picture: NDArray[np.uint8]) -> None:
    stored = picture[..., ::-1] if picture.ndim == 3 else picture
    try:
        done = cv2.imwrite(str(path), stored)
    except cv2.error as exc:
        raise EdgeError(f"{path}: cannot be written ({exc.err})") from exc
    if not done:
        raise EdgeError(f"{path}: cannot be written")


if __name__ == "__main__":
    sys.exit(main())
