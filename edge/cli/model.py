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
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge import golden
from edge.cli import agreement, assemble
from edge.cli.agreement import Agreement
from edge.cli.site import Site
from edge.errors import EdgeError, InferenceError, ModelError, UsageError
from edge.infer import engine_build, inspector, onnx, tensorrt, trt_build
from edge.infer.engine_build import Done, Failed, Happening, Step
from edge.infer.engine_store import Choice
from edge.infer.inspector import Audit
from edge.infer.trt_build import Built
from edge.types import Model, Precision

HELP = "build TensorRT engines, and audit what they run in"
ENGINE_PER_ONNX = 4  # bytes of disk to have free for each byte of ONNX: kernels come beside the weights
RUNS = 50  # inferences that a live audit takes times of
NO_FP16 = "that needs the times of both engines"
Verdict = tuple[Precision | None, str]  # which precision to use, None where nothing was compared; and why
PRECISIONS: tuple[Precision, ...] = ("int8_trt", "fp16_trt")


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
    config = _config(site)
    loaded = assemble.load_model(site, precision)
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


def _config(site: Site) -> tensorrt.Config:
    _, part = assemble.infer_part(site)
    if not isinstance(part, tensorrt.Config):
        raise UsageError(
            f'{site.file}: infer.backend is {site.config.infer.get("backend")!r}; engines are for "tensorrt"'
        )
    return part


# ------------------------------------------------------------------------------------------------ audit


def audit(options: argparse.Namespace) -> int:
    agreements: list[Agreement] = []
    if options.layers is not None:
        found = _saved(options.layers, options.profile)
        verdict = _verdict(found, _saved(options.fp16_layers, options.fp16_profile) if options.fp16_layers else NO_FP16)
    else:
        found, agreements, verdict = _live_audit(assemble.load_site(options.config), options.precision, options.save)
    if options.json:
        print(json.dumps(_result(found, agreements, verdict)))
    else:
        _print(found, agreements, verdict[1])
    return 0


def _live_audit(site: Site, precision: Precision | None, save: Path | None) -> tuple[Audit, list[Agreement], Verdict]:
    """Of the INT8 engine, or the named one. Beside an FP16 one, what is better is kept for `precision = "best"`."""
    config, asked = _config(site), precision or "int8_trt"
    loaded = assemble.load_model(site, asked)
    found, agreements = _live(site, config, loaded, save)
    verdict = _verdict(found, _live_fp16(site, config) if asked == "int8_trt" else f"{asked} was asked for")
    if verdict[0] is not None:
        choice = Choice(
            precision=verdict[0], why=verdict[1], measured=f"{loaded.manifest.name} {loaded.manifest.version}"
        )
        tensorrt.store(config).put_choice(choice)
    return found, agreements, verdict


def _saved(layers: Path, profile: Path | None) -> Audit:
    return inspector.audit(_content(layers), _content(profile) if profile else None, str(layers))


def _live(site: Site, config: tensorrt.Config, loaded: Model, save: Path | None) -> tuple[Audit, list[Agreement]]:
    """An engine, its layers' times, and its heads beside the float reference's on the golden pictures."""
    frames, _ = golden.vectors(loaded)
    with closing(tensorrt.open(config, loaded)) as backend:
        agreements = _agreements(site, loaded, frames, backend)
        layers, profile = backend.layers(), json.dumps(backend.layer_times(frames[0], RUNS))
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        (save / f"{loaded.precision}.layers.json").write_text(layers)
        (save / f"{loaded.precision}.profile.json").write_text(profile)
    return inspector.audit(layers, profile, loaded.path), agreements


def _live_fp16(site: Site, config: tensorrt.Config) -> Audit | str:
    """Of the FP16 engine; or why there is none: the model has no such file, nobody built it, no memory for it."""
    try:
        return _live(site, config, assemble.load_model(site, "fp16_trt"), None)[0]
    except (ModelError, InferenceError) as exc:
        return f"{exc} (`endoedge model build --precision fp16_trt`, where the model has that file)"


def _agreements(site: Site, loaded: Model, frames: np.ndarray[Any, Any], backend: Any) -> list[Agreement]:
    reference = onnx.open(onnx.Config(), assemble.load_model(site, "fp32"))
    with closing(reference):
        return agreement.with_reference(loaded.manifest.heads, frames, backend, reference)


def _verdict(found: Audit, fp16: Audit | str) -> Verdict:
    """`fp16`: the other engine, or why there is none."""
    if isinstance(fp16, str):
        return None, f"not compared with FP16: {fp16}"
    if fp16.ms is None or found.ms is None:
        return None, f"not compared with FP16: {NO_FP16}"
    return inspector.choice(found.ms, fp16.ms)


def _result(found: Audit, agreements: list[Agreement], verdict: Verdict) -> dict[str, Any]:
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
