"""Measure this machine: whole path against bare model, each stage, our own share, INT8 against FP32, memory, latency.

Everything is a ratio taken in one run, or a percentile at the real feed rate. Takes a few minutes; nothing else should
be running.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edge import core, model, paths
from edge.capture import phantom
from edge.cli import assemble, demo, latency, measure, numbers
from edge.infer import onnx

HELP = "measure speed, latency and memory on this machine"
ROUND_FRAMES = 1000
STOLEN_TOO_MUCH = 0.02  # share of processor time that a hypervisor gave to other guests
SETTLED_AT = 2000  # frames after which memory may not grow any more


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pipeline", default="colonoscopy", metavar="NAME")
    parser.add_argument(
        "--threads", type=numbers.count, default=1, metavar="N", help="threads of the model (default 1)"
    )
    parser.add_argument(
        "--frames", type=numbers.count, default=20_000, metavar="N", help="of the full-rate run (default 20000)"
    )
    parser.add_argument(
        "--seconds", type=numbers.seconds, default=20.0, metavar="N", help="of each latency run (default 20)"
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")


def main(options: argparse.Namespace) -> int:
    console = Console(stderr=options.json)
    pipeline, rules = assemble.load_pipeline(paths.data_dir("pipelines") / f"{options.pipeline}.toml")
    folder = paths.data_dir("models") / pipeline.model
    loaded = model.load(folder)
    before = measure.processor_ticks()
    script = phantom.Config()
    demo.render_phantom(script, console)
    job = measure.Job(phantom.prepare(script).video, pipeline, rules, loaded, options.threads)
    images = measure.images_of(job.clip, loaded.size)
    fast, slow = (onnx.open(onnx.Config(threads=options.threads), m) for m in (loaded, model.load(folder, "fp32")))
    speedup = measure.speedup(fast, slow, images)
    with tempfile.TemporaryDirectory(prefix="endoedge-bench-") as scratch:
        run = _whole(job, images, Path(scratch), options.frames, console)
        latencies = {
            fps: latency.measure(fps, options.seconds, options.threads, options.pipeline, Path(scratch), console)
            for fps in (25, 60)
        }
    stolen, ticks = (now - then for now, then in zip(measure.processor_ticks(), before, strict=True))
    result = _result(run, speedup, latencies) | {"stolen": round(stolen / ticks, 4)}
    _print(console, loaded.manifest.name, options, result)
    if options.json:
        print(json.dumps(result))
    return 0


def _whole(job: measure.Job, images: measure.Images, folder: Path, frames: int, console: Console) -> measure.Whole:
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("whole path at full rate", total=frames)
        return measure.whole(job, images, folder, frames, ROUND_FRAMES, lambda n: progress.update(bar, completed=n))


def _result(run: measure.Whole, speedup: tuple[float, float, float], latencies: dict[int, Any]) -> dict[str, Any]:
    ratios = np.array(run.frame_ms) / np.array(run.bare_ms)
    totals = {name: run.stages.total_s(name) for name in core.STAGES}
    stages = {
        name: {"p50": p50, "p99": p99, "share": round(totals[name] / sum(totals.values()), 4)}
        for name in core.STAGES
        for p50, p99 in [run.stages.percentiles_ms(name)]
    }
    return {
        "whole_over_bare": round(float(np.median(ratios)), 4),
        "whole_ms": round(float(np.median(run.frame_ms)), 3),
        "bare_ms": round(float(np.median(run.bare_ms)), 3),
        "stages_ms": stages,
        "python_ms_p99": round(float(np.percentile(run.python_ms, 99)), 4),
        "int8_speedup": round(speedup[0], 3),
        "int8_ms": round(speedup[1], 3),
        "fp32_ms": round(speedup[2], 3),
        "rss_growth": round(measure.rss_growth(run.rss, SETTLED_AT), 4),
        "frames": run.frames,
        "copies_per_frame": msgspec.to_builtins(run.copies),
        "latency_ms": latency.combine(latencies),
        "machine": f"{platform.machine()}, {latency.processor()}",
    }


def _print(console: Console, name: str, options: argparse.Namespace, result: dict[str, Any]) -> None:
    table = Table(title=f"{name}, {options.threads} thread(s), {result['machine']}")
    for column in ("stage", "p50 ms", "p99 ms", "share of a frame"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, row in result["stages_ms"].items():
        table.add_row(stage, f"{row['p50']:.3f}", f"{row['p99']:.3f}", f"{row['share']:.1%}")
    console.print(table)
    figures = Table(show_header=False)
    figures.add_row("whole path / bare model", f"{result['whole_over_bare']:.3f} ({result['bare_ms']:.2f} ms bare)")
    figures.add_row("our own Python, p99", f"{result['python_ms_p99']:.3f} ms a frame")
    figures.add_row("INT8 against FP32", f"{result['int8_speedup']:.2f} times faster")
    figures.add_row("memory growth", f"{result['rss_growth']:+.2%} from frame {SETTLED_AT} to {result['frames']}")
    copies = result["copies_per_frame"]
    figures.add_row(
        "whole pictures copied, a frame",
        f"{copies['host']:g} in host memory, {copies['h2d']:g} to the GPU, {copies['d2h']:g} from it,"
        f" {copies['device']:g} in its memory",
    )
    for fps, row in result["latency_ms"]["by_fps"].items():
        if row["p50"] is None:
            figures.add_row(f"capture to subscriber at {fps} fps", "no alerts")
            continue
        figures.add_row(
            f"capture to subscriber at {fps} fps",
            f"p50 {row['p50']:.1f} ms, p95 {row['p95']:.1f}, p99 {row['p99']:.1f}, max {row['max']:.1f};"
            f" {row['deadline_misses']} deadline misses in {row['frames']} frames, {row['alerts']} alerts",
        )
    console.print(figures)
    if result["stolen"] > STOLEN_TOO_MUCH:
        console.print(f"[yellow]other guests took {result['stolen']:.0%} of this machine's time: measure again")
