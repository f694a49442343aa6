"""The command: every measurement in processes of its own, figures beside their aims, JSON for whoever wants it."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from edge.capture import profiles
from edge.cli import numbers
from edge.errors import EdgeError, GpuError, UsageError
from edge.memory import gpu
from edge.types import Model
from tools.gpu_bench import PROFILE, Options, floor, released, report
from tools.gpu_bench.pack import FPS
from tools.gpu_bench.processes import ChildError, Runner
from tools.gpu_bench.report import Report, Row
from tools.on_device.report import commit, software

STREAMS = (1, 2, 4, 8, 16)
DRIVER = Path("/sys/module/nvidia/version")
RUNTIMES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12")
HINTS = {  # the first that fits
    "cudaupload": "GStreamer's nvcodec plugin needs libcuda.so.1 and libnvcuvid.so.1",
    "cudaconvertscale": "its kernels did not compile; GStreamer 1.22 needs the libnvrtc of CUDA 12 or before,"
    " named by GST_CUDA_NVRTC_LIBNAME",
}


def main(arguments: Sequence[str] | None = None, module: str = "tools.gpu_bench") -> int:
    """0 done; 1 no GPU, a wrong pixel, a copy, or something could not be measured; 2 usage, or a part is missing.

    `module`: what children are started as.
    """
    given = _parser().parse_args(arguments)
    try:
        if given.child:
            return _child(given.child, msgspec.json.decode(given.options, type=Options))
        options = _options(given)
        loaded = released(options)
        check_machine()
        return _all(options, loaded, given.streams, given.json, Runner(module))
    except EdgeError as exc:
        print(f"gpu_bench: {exc}", file=sys.stderr)
        return exc.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/gpu_bench.sh run", description="The x86 CUDA path, measured.")
    parser.add_argument("--clip", metavar="FILE", default="", help=f"a film at {FPS} fps; the pack brings one")
    parser.add_argument("--engine", choices=("onnx", "tensorrt"), default="onnx", help="default: %(default)s")
    parser.add_argument("--model", default="", metavar="DIR", help="released model (default: the pipeline's)")
    parser.add_argument("--pipeline", default="colonoscopy", metavar="NAME", help="or a file (default: %(default)s)")
    parser.add_argument("--streams", type=numbers.count, nargs="+", default=list(STREAMS), metavar="N")
    parser.add_argument("--seconds", type=numbers.seconds, default=20.0, metavar="N", help="of each run (default 20)")
    parser.add_argument("--runs", type=numbers.count, default=2000, metavar="N", help="of the bare engine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--child", choices=("interface", "bare", "path"), help=argparse.SUPPRESS)
    parser.add_argument("--options", help=argparse.SUPPRESS)
    return parser


def _options(given: argparse.Namespace) -> Options:
    if not Path(given.clip).is_file():
        raise UsageError(f"--clip {given.clip or 'FILE'}: no such file; tools/gpu_bench.sh run takes the pack's own")
    if given.json is not None and not given.json.parent.is_dir():
        raise UsageError(f"--json {given.json}: there is no folder {given.json.parent}")
    return Options(
        clip=_absolute(given.clip),
        engine=given.engine,
        model=_absolute(given.model),
        pipeline=_absolute(given.pipeline) if given.pipeline.endswith(".toml") else given.pipeline,
        seconds=given.seconds,
        runs=given.runs,
    )


def _absolute(path: str) -> str:
    """Children work elsewhere."""
    return str(Path(path).resolve()) if path else ""


def check_machine() -> None:
    """Raises GpuError: no GPU. UsageError: the pack is not for its driver, or something of GStreamer's is missing."""
    try:
        with closing(gpu.Device.open()):
            had = int(gpu.call("cuDriverGetVersion")) // 1000
    except GpuError as exc:
        raise GpuError(f"no NVIDIA GPU: {exc}") from exc
    if had < (wanted := carried_cuda()):
        raise UsageError(
            f"the driver is of CUDA {had}, the pack of CUDA {wanted}:"
            f" a newer driver, or tools/gpu_bench.sh pack --cuda {had}"
        )
    profile = next(each for each in profiles.all_profiles() if each.name == PROFILE)
    if lacking := profiles.missing(profile):
        hint = next(
            (hint for name, hint in HINTS.items() if name in lacking), "it comes with the pack: make that again"
        )
        raise UsageError(f"profile {PROFILE} lacks {', '.join(lacking)}: {hint}")


def carried_cuda() -> int:
    """The generation of the CUDA libraries that are installed with ONNX Runtime; 0 where none are."""
    for name in RUNTIMES:
        with suppress(metadata.PackageNotFoundError):
            return int(metadata.version(name).partition(".")[0])
    return 0


def _child(name: str, options: Options) -> int:
    child = importlib.import_module(f"tools.gpu_bench.children.{name}")
    print(json.dumps(child.run(options)), flush=True)
    return 0


def _all(options: Options, loaded: Model, streams: Sequence[int], target: Path | None, runner: Runner) -> int:
    console = Console()
    with console.status("frames through __cuda_array_interface__"):
        interface = runner.one("interface", options)
    no_graph = ""
    try:
        engine, rows = _measure(options, streams, runner, console)
    except ChildError as exc:
        if options.engine != "onnx":
            raise
        no_graph = str(exc)  # it may be something else: then the same happens again, and is the command's error
        engine, rows = _measure(msgspec.structs.replace(options, cuda_graph=False), streams, runner, console)
    whole = Report(
        at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=commit(),
        software=software(),
        driver=DRIVER.read_text(encoding="ascii").strip() if DRIVER.exists() else "unknown",
        engine=f"{options.engine}, {loaded.precision}",
        no_graph=no_graph,
        interface=interface,
        floor=floor.of(loaded.content, engine["gpu"]),
        streams=rows,
        **engine,
    )
    report.show(console, whole)
    aims = report.aims(whole)
    if target is not None:
        written = msgspec.to_builtins(whole) | {"aims": [msgspec.to_builtins(aim) | {"met": aim.met} for aim in aims]}
        target.write_bytes(msgspec.json.format(msgspec.json.encode(written)))
    return 0 if all(aim.met for aim in aims if aim.must) and not any(row.error for row in rows) else 1


def _measure(
    options: Options, streams: Sequence[int], runner: Runner, console: Console
) -> tuple[dict[str, Any], list[Row]]:
    """The bare engine, and each number of streams. Raises ChildError when even one stream does not come through."""
    with console.status("the bare engine"):
        engine = runner.one("bare", options)
    rows = []
    for count in sorted(set(streams)):
        with console.status(f"{count} streams, {options.seconds:.0f} s"):
            try:
                rows.append(Row(streams=count, each=runner.streams(count, options)))
            except ChildError as exc:
                if not rows:
                    raise
                rows.append(Row(streams=count, error=str(exc)))
    return engine, rows


if __name__ == "__main__":
    sys.exit(main())
