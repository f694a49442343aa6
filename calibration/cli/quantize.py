"""endoedge-model quantize"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from calibration import datasets, manifest, qat, quantize, sensitivity
from calibration.audit import audited
from calibration.cli.shared import console, progress_bars
from calibration.encodings import FILES
from calibration.eval.overlap import mean_overlap
from calibration.eval.runner import Runner
from calibration.manifest import Entry
from calibration.parity import agreement
from calibration.pictures import DatasetError
from calibration.quantize import Calibration, calibrated, quantised
from calibration.ranges import METHODS, Frame
from calibration.sensitivity import BEST, Effect
from calibration.strong_types import in_halves
from calibration.units import units

LEAST_PICTURES = 16  # of fewer, chance decides how far activations reach
JUDGED = 8  # of the calibration pictures: on these each unit's effect is measured
COMPARED = 8  # and on these the two encodings
U8, S8, HALVES, REPORT = FILES["int8"], FILES["int8_trt"], FILES["fp16_trt"], "quantize.json"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="FP32 ONNX file, as `export` writes it or a release holds it")
    parser.add_argument("folder", type=Path, help=f"where {U8}, {S8}, {HALVES} and {REPORT} go")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--manifest", type=Path, help="calibrate on its training pictures")
    source.add_argument(
        "--data",
        nargs=2,
        metavar=("LAYOUT", "PATH"),
        help=f"calibrate on a data set's; LAYOUT one of {', '.join(datasets.layouts())}",
    )
    parser.add_argument("--pictures", type=int, default=64, help="spread evenly over what there is; default 64")
    parser.add_argument("--method", choices=[*METHODS, BEST], default="mse", help="best: each tensor's own, measured")
    parser.add_argument("--report", action="store_true", help="measure every unit's effect; best always does")
    parser.add_argument("--unit-gate", type=float, default=sensitivity.GATE, help="effect beyond which a unit is float")
    parser.add_argument("--gate", type=float, default=qat.GATE, help="Dice lost to INT8 beyond which it is fine-tuned")
    parser.add_argument("--steps", type=int, default=qat.Schedule.steps, help="length of that fine-tuning; 0: never")


def run(options: argparse.Namespace) -> int:
    """FP32 ONNX to INT8 by explicit Q/DQ: one calibration, a file for ONNX Runtime and one for TensorRT; FP16."""
    runner = Runner(options.model, threads=1)
    found = _pictures(options)
    frames = calibration_frames(runner, found, options.pictures)
    model = onnx.load(str(options.model))
    calibration, effects = _calibration(options, model, frames)
    judged = [(entry, root) for entry, root in found if entry.split == "val" and entry.mask]
    tuned, calibration, gate = _through_gate(options, model, calibration, frames, judged)
    files = {
        U8: quantised(tuned, calibration, "u8"),
        S8: quantised(tuned, calibration, "s8"),
        HALVES: in_halves(model),
    }
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, written in files.items():
        onnx.save(written, str(options.folder / name))
        console.print(f"{options.folder / name}: {(options.folder / name).stat().st_size / 1e6:.1f} MB")
    report = {
        "model_sha256": hashlib.sha256(options.model.read_bytes()).hexdigest(),
        "method": options.method,
        "pictures": len(frames),
        "gate": gate,
        **_report(options, calibration, effects, frames, files),
    }
    (options.folder / REPORT).write_text(json.dumps(report, indent=1) + "\n")
    _say(report)
    return 0


def _through_gate(
    options: argparse.Namespace,
    model: onnx.ModelProto,
    calibration: Calibration,
    frames: Sequence[Frame],
    judged: Sequence[tuple[Entry, Path]],
) -> tuple[onnx.ModelProto, Calibration, dict[str, float]]:
    """The net and calibration to write, fine-tuned if rounding alone loses too much, and the Dice on `judged`."""
    if not judged:
        return model, calibration, {}

    def dice(one: onnx.ModelProto) -> float:
        samples = (datasets.load(*picture) for picture in judged)
        return mean_overlap(Runner(one.SerializeToString(), threads=1), samples).dice

    gate = {"allowed": options.gate, "fp32": dice(model), "rounded": dice(quantised(model, calibration, "u8"))}
    if not options.steps or not qat.needs_training(gate["fp32"], gate["rounded"], options.gate):
        return model, calibration, gate
    with progress_bars() as progress:
        task = progress.add_task("fine-tuning", total=options.steps)

        def done(step: int, loss: float) -> None:
            progress.update(task, completed=step, description=f"fine-tuning, loss {loss:.4f}")

        tuned, learnt = qat.fine_tuned(model, calibration, frames, qat.Schedule(options.steps), done)
    gate["fine_tuned"] = dice(quantised(tuned, learnt, "u8"))
    return (tuned, learnt, gate) if gate["fine_tuned"] > gate["rounded"] else (model, calibration, gate)


def _pictures(options: argparse.Namespace) -> list[tuple[Entry, Path]]:
    """The pictures that were named, stills only, and the folder of each."""
    if options.manifest:
        listed = manifest.read(options.manifest)
        found = [(entry, listed.root(entry)) for entry in listed.entries]
    else:
        layout, root = options.data[0], Path(options.data[1])
        found = [(entry, root) for entry in datasets.scan(layout, root)]
    return [(entry, root) for entry, root in found if entry.frame < 0]


def calibration_frames(runner: Runner, found: Sequence[tuple[Entry, Path]], wanted: int) -> list[Frame]:
    """`wanted` training pictures, spread evenly over those found, as the model's input. DatasetError: too few."""
    found = [(entry, root) for entry, root in found if entry.split == "train"]
    if min(wanted, len(found)) < LEAST_PICTURES:
        raise DatasetError(
            f"calibration set too small: {len(found)} training pictures, {wanted} asked for, "
            f"expected {LEAST_PICTURES} or more"
        )
    chosen = np.linspace(0, len(found) - 1, min(wanted, len(found))).round().astype(int)
    return [runner.frame(datasets.load(*found[index]).picture) for index in chosen]


def _calibration(
    options: argparse.Namespace, model: onnx.ModelProto, frames: Sequence[Frame]
) -> tuple[Calibration, list[Effect]]:
    if options.method != BEST and not options.report:
        return calibrated(model, frames, options.method), []
    judged = frames[:: len(frames) // JUDGED][:JUDGED]
    with progress_bars() as progress:
        task = progress.add_task("effect of each unit", total=len(units(model)) - len(quantize.FIXED))

        def done(count: int) -> None:
            progress.update(task, completed=count)

        return sensitivity.chosen(model, frames, judged, options.method, options.unit_gate, done)


def _report(
    options: argparse.Namespace,
    calibration: Calibration,
    effects: Sequence[Effect],
    frames: Sequence[Frame],
    files: dict[str, onnx.ModelProto],
) -> dict[str, Any]:
    """What `quantize.json` says: ranges, effects, what is left in float and why, the audit, how far the files agree."""
    audit = audited(files[S8])
    noise = {effect.unit: effect for effect in effects}
    tensors = [
        {"tensor": name, "reach": reach, "noise": noise[name].noise if name in noise else {}}
        for name, reach in calibration.ranges.items()
    ]
    return {
        "left_in_float": [asdict(one) for one in sensitivity.left(effects, options.unit_gate)],
        "tensorrt": {
            "int8_convolutions": sum(one.int8 for one in audit.convolutions),
            "float_convolutions": {one.name: one.why for one in audit.convolutions if not one.int8},
            "violations": audit.violations,
        },
        "agreement": asdict(agreement(files[U8], files[S8], frames[-COMPARED:])),
        "tensors": tensors,
    }


def _say(report: dict[str, Any]) -> None:
    for name, dice in report["gate"].items():
        console.print(f"Dice {name.replace('_', ' ')}: {dice:.4f}")
    tensorrt, agree = report["tensorrt"], report["agreement"]
    console.print(f"{report['method']} on {report['pictures']} pictures; {len(report['left_in_float'])} units in float")
    console.print(
        f"TensorRT: {tensorrt['int8_convolutions']} convolutions in INT8, {len(tensorrt['float_convolutions'])} in "
        f"float, {len(tensorrt['violations'])} violations"
    )
    console.print(
        f"the two encodings: {agree['within_one_step']:.1%} of cells within one step, at most "
        f"{agree['largest_steps']:.0f} steps apart, Dice {agree['dice']:.4f}"
    )
