"""Engines for this GPU: `build` makes the one that the configured model needs, `audit` says what an engine runs in.

`build` takes minutes on a Jetson. The engine is put into use only when it has given the model's golden answers; what
serves meanwhile goes on serving. `audit` reads the live engine, or files that trtexec or this command has saved.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge import golden, model
from edge.cli import agreement, assemble
from edge.cli.agreement import Agreement
from edge.cli.assemble import Site
from edge.errors import EdgeError, InferenceError, UsageError
from edge.infer import engine_build, inspector, onnx, tensorrt, trt_build
from edge.infer.engine_build import Done, Failed, Happening, Step
from edge.infer.inspector import Audit
from edge.infer.trt_build import Built
from edge.types import Model, Precision

HELP = "build TensorRT engines, and audit what they run in"
ENGINE_PER_ONNX = 4  # bytes of disk to have free for each byte of ONNX: kernels come beside the weights
RUNS = 50  # inferences that a live audit takes times of
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", required=True, metavar="build|audit")
    for name, text in (("build", "make the engine for the configured model"), ("audit", "what an engine runs in")):
        command = what.add_parser(name, help=text, description=text)
        command.add_argument("-c", "--config", type=Path, default=Path("/etc/endoedge/endoedge.toml"), metavar="FILE")
        command.add_argument("--precision", choices=PRECISIONS, help="another of the model's files")
        if name == "build":
            command.add_argument("--events", action="store_true", help="one JSON line a step, for programs")
            command.add_argument(
                "--plan", type=Path, metavar="FILE", help="take this engine, made here by another tool"
            )
            continue
        command.add_argument("--json", action="store_true", help="one JSON object instead of tables")
        command.add_argument("--layers", type=Path, metavar="FILE", help="saved inspector JSON instead of an engine")
        command.add_argument(
            "--profile", type=Path, metavar="FILE", help="its times, as trtexec --exportProfile has them"
        )
        command.add_argument("--fp16-layers", type=Path, metavar="FILE", help="the same of an FP16 engine, to compare")
        command.add_argument("--fp16-profile", type=Path, metavar="FILE")
        command.add_argument("--save", type=Path, metavar="DIR", help="keep the live engine's JSON there")


def main(options: argparse.Namespace) -> int:
    return build(options) if options.what == "build" else audit(options)


# ------------------------------------------------------------------------------------------------ build


def build(options: argparse.Namespace) -> int:
    if options.events:
        return _told(options, lambda happening: print(engine_build.line(happening), flush=True))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress:
        bars: dict[str, Any] = {}

        def show(happening: Happening) -> None:
            if isinstance(happening, Step):
                if happening.phase not in bars:
                    bars[happening.phase] = progress.add_task(happening.phase, total=happening.total)
                progress.update(bars[happening.phase], completed=happening.done)
            elif isinstance(happening, Done):
                progress.console.print(
                    f"{escape(happening.engine)}: built in {happening.seconds:.0f} s, answers checked"
                )

        return _told(options, show)


def _told(options: argparse.Namespace, tell: Callable[[Happening], None]) -> int:
    try:
        tell(make(options.config, options.precision, tell, options.plan))
    except EdgeError as exc:
        tell(Failed(reason=str(exc)))
        raise
    return 0


def make(file: Path, precision: Precision | None, tell: Callable[[Happening], None], plan: Path | None = None) -> Done:
    """Build (or take `plan`), check the golden answers, put into the store. Raises EdgeError; the store stays then."""
    site = assemble.load_site(file)
    config = _config(site, precision)
    loaded = assemble.load_model(site, config.precision)
    golden.vectors(loaded)  # before minutes are spent: without them nothing can be put into use
    with closing(tensorrt.open_device(config)) as device:
        store, key = tensorrt.store(config), tensorrt.key(device, loaded)
        store.require_room(len(loaded.content) * ENGINE_PER_ONNX)
        if plan is not None:
            built = Built(_content(plan), b"", 0.0)
        else:
            built = tensorrt.build(config, loaded, store.timing_cache(key), lambda now: _go_on(now, tell))
            store.put_timing_cache(key, built.timing_cache)
        with closing(tensorrt.TensorRTBackend(device, loaded, built.plan)) as backend:
            wrong = [difference for difference in golden.differences(loaded, backend) if not difference.fits]
    if wrong:
        raise InferenceError(
            f"{loaded.path}: the engine gives other answers and is not used: {'; '.join(map(str, wrong))}"
        )
    store.put(key, built.plan, build_s=built.seconds, golden_sha256=loaded.manifest.golden.sha256)
    return Done(engine=str(key), seconds=round(built.seconds, 1))


def _go_on(now: trt_build.Progress, tell: Callable[[Happening], None]) -> bool:
    tell(Step(phase=now.phase, done=now.done, total=now.total))
    return True


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise UsageError(f"{path}: cannot be read: {exc.strerror}") from exc


def _config(site: Site, precision: Precision | None) -> tensorrt.Config:
    _, part = assemble.infer_part(site)
    if not isinstance(part, tensorrt.Config):
        raise UsageError(
            f'{site.file}: infer.backend is {site.config.infer.get("backend")!r}; engines are for "tensorrt"'
        )
    if precision == "int8":
        raise UsageError("int8 is the file for processors; TensorRT's is int8_trt")
    return msgspec.structs.replace(part, precision=precision or part.precision)


# ------------------------------------------------------------------------------------------------ audit


def audit(options: argparse.Namespace) -> int:
    agreements: list[Agreement] = []
    if options.layers is not None:
        found = _saved(options.layers, options.profile)
        fp16 = _saved(options.fp16_layers, options.fp16_profile) if options.fp16_layers else None
    else:
        site = assemble.load_site(options.config)
        config = _config(site, options.precision)
        found, agreements = _live(site, config, options.save)
        fp16 = _live_fp16(site, config)
    verdict = _verdict(found, fp16)
    if options.json:
        print(json.dumps(_result(found, agreements, verdict)))
    else:
        _print(found, agreements, verdict[1])
    return 0


def _saved(layers: Path, profile: Path | None) -> Audit:
    return inspector.audit(_content(layers), _content(profile) if profile else None, str(layers))


def _live(site: Site, config: tensorrt.Config, save: Path | None = None) -> tuple[Audit, list[Agreement]]:
    """The configured engine, its layers' times, and its heads beside the float reference's on the golden pictures."""
    loaded = assemble.load_model(site, config.precision)
    frames, _ = golden.vectors(loaded)
    with closing(tensorrt.open(config, loaded)) as backend:
        agreements = _agreements(site, loaded, frames, backend)
        layers, profile = backend.layers(), json.dumps(backend.layer_times(frames[0], RUNS))
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        (save / f"{config.precision}.layers.json").write_text(layers)
        (save / f"{config.precision}.profile.json").write_text(profile)
    return inspector.audit(layers, profile, loaded.path), agreements


def _live_fp16(site: Site, config: tensorrt.Config) -> Audit | None:
    """Of the FP16 engine, where the model has the file and somebody built it."""
    folder = site.models_dir / site.pipeline.model
    fp16 = msgspec.structs.replace(config, precision="fp16_trt")
    if config.precision == "fp16_trt" or "fp16_trt" not in model.load(folder, config.precision).manifest.files:
        return None
    try:
        return _live(site, fp16)[0]
    except InferenceError:
        return None  # no engine of it yet: the verdict says how to get one


def _agreements(site: Site, loaded: Model, frames: np.ndarray[Any, Any], backend: Any) -> list[Agreement]:
    reference = onnx.open(onnx.Config(), assemble.load_model(site, "fp32"))
    with closing(reference):
        return agreement.with_reference(loaded.manifest.heads, frames, backend, reference)


def _verdict(found: Audit, fp16: Audit | None) -> tuple[Precision | None, str]:
    if fp16 is None or fp16.ms is None or found.ms is None:
        return None, (
            "not compared with FP16: that needs the times of an engine of each"
            " (`endoedge model build --precision fp16_trt`, where the model has that file)"
        )
    return inspector.choice(found.ms, fp16.ms)


def _result(found: Audit, agreements: list[Agreement], verdict: tuple[Precision | None, str]) -> dict[str, Any]:
    return {
        "ms": found.ms,
        "precisions": {row.what: {"layers": row.layers, "ms": row.ms, "share": row.share} for row in found.rows()},
        "layers": [vars(layer) for layer in found.layers],
        "agreement": [each._asdict() for each in agreements],
        "use": verdict[0],
        "why": verdict[1],
    }


def _print(found: Audit, agreements: list[Agreement], why: str) -> None:
    console = Console()
    table = Table("computed in", "layers", "ms", "share of the time", title="what the engine runs in")
    for row in found.rows():
        ms = "" if row.ms is None else f"{row.ms:.3f}"
        table.add_row(row.what, str(row.layers), ms, "" if row.share is None else f"{row.share:.0%}")
    console.print(table)
    slow = sorted((layer for layer in found.layers if layer.ms), key=lambda layer: -(layer.ms or 0))[:5]
    for layer in slow:
        console.print(f"  {layer.ms:.3f} ms  {layer.precision:5}  {escape(layer.kind)}  {escape(layer.name[:80])}")
    if agreements:
        table = Table("head", "measure", "value", title="beside the float reference, on the golden pictures")
        for each in agreements:
            table.add_row(escape(each.head), each.measure, f"{each.value:.4f}")
        console.print(table)
    console.print(escape(why))
