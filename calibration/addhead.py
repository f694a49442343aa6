"""A new head for a finished model: chosen from a manifest, learned on the frozen encoder, measured, and fused in."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx

from calibration import datasets, heads, manifest, views
from calibration.encodings import FILE_OF, FILES, REFERENCE
from calibration.eval import classes
from calibration.eval.bootstrap import Resampler
from calibration.examples import Chosen, Encoder, Tapper, chosen
from calibration.fuse import FOLDER, Fused, Record, fused, prove_unchanged, records, session, tapped, width_of
from calibration.heads import Head
from calibration.learn import Array, Examples, Layer, answered, trained
from calibration.manifest import Manifest
from edge.errors import ModelError, UsageError
from edge.types import ModelHead

FIGURES_OF = {name: FILE_OF[name] for name in ("fp32", "int8_cpu")}  # encodings a head is measured on
PROVEN_ON = 4  # frames on which nothing else may have changed
STALE = ("model.toml", "MODEL_CARD.md", "golden.npz")  # a release's: true of the model without the head

Progress = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    folder: Path
    name: str
    manifest: Path
    out: Path
    views: int
    seed: int
    cache: Path
    unshippable: bool = False  # learn from what may not be shipped too: the head is for development then
    command: str = ""


def add(order: Order, progress: Progress) -> Record:
    """Train the head and write the model with it to `order.out`. Nothing is written when anything is wrong.

    Raises UsageError, DatasetError (data), ModelError (no such tap, a head that is there already).
    """
    head = heads.named(order.name)
    models = _models(order, head)
    listed = manifest.read(order.manifest)
    learned = chosen(listed, order.name, head, "train", order.unshippable)
    judged = chosen(listed, order.name, head, "val", order.unshippable)
    encoders = {name: _encoder(models[file], head) for name, file in FIGURES_OF.items() if file in models}
    tapper = Tapper(listed, order.name, head, list(encoders.values()), order.cache)
    examples = tapper.training(learned, order.views, order.seed, functools.partial(progress, "training views"))
    if head.parts:
        examples.taps[:, min(width_of(model, head.parts) for model in models.values()) :] = 0  # so they weigh nothing
    layers = trained(head, examples, order.seed)
    put_in = {file: fused(model, Fused(order.name, head.tap, layers)) for file, model in models.items()}
    figures = {}
    for name, encoder in encoders.items():
        held = tapper.judging(judged, encoder, functools.partial(progress, f"{name}, held out"))
        figures[name] = _figures(order.name, head, held, layers)
    frames = _frames(judged, listed, next(iter(encoders.values())).side)
    for file, model in put_in.items():
        prove_unchanged(models[file], model, frames)
    record = _record(order, head, learned, judged, figures)
    _write(order, put_in, record)
    return record


def _models(order: Order, head: Head) -> dict[str, onnx.ModelProto]:
    """The files of the folder, each fit to take the head."""
    folder = order.folder
    if not (folder / REFERENCE).is_file():
        raise UsageError(f"{folder}: no {REFERENCE} in it, so no model to add a head to")
    if order.out == folder and (folder / "model.toml").exists():
        raise UsageError(f"{folder}: is a released model; give --out, and release the result")
    taken = {record.name for record in records(folder)}
    models = {file: onnx.load(str(folder / file)) for file in FILES.values() if (folder / file).is_file()}
    for file, model in models.items():
        if order.name in taken | {output.name for output in model.graph.output}:
            raise ModelError(f"{folder / file}: already has a head {order.name}")
        try:
            tapped(model, head.tap)
        except ModelError as exc:
            raise ModelError(f"{folder / file}: {exc}") from exc
    return models


def _encoder(model: onnx.ModelProto, head: Head) -> Encoder:
    digest = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    return Encoder(session(model, [tapped(model, head.tap)]), digest)


def _frames(judged: Chosen, listed: Manifest, side: int) -> list[Any]:
    """Input frames (1, S, S, 4) of some of the pictures."""
    frames = []
    for entry, _ in judged.entries[:: max(1, len(judged.entries) // PROVEN_ON)][:PROVEN_ON]:
        square = views.plain(datasets.load(entry, listed.root(entry)).picture, side)
        frames.append(np.dstack([square, np.full(square.shape[:2], 255, np.uint8)])[None])
    return frames


def _figures(name: str, head: Head, held: Examples, layers: Sequence[Layer]) -> dict[str, Any]:
    said = answered(layers, held.taps)
    if head.kind == "dense":
        return _depth_figures(said, held)
    shown = ModelHead(name=name, output=name, kind=head.kind, labels=list(head.labels))
    probabilities = np.array([classes.probabilities(logits[None], shown) for logits in said])
    return classes.report(shown, probabilities, held.targets.tolist(), held.groups)


def _depth_figures(said: Array, held: Examples) -> dict[str, Any]:
    """Mean absolute relative error and share of pixels within a factor of 1.25 (Eigen et al. 2014), a picture each."""
    true = held.targets.astype(np.float32)
    ratio = np.exp(said - true)
    inside = true > true.min() + 1e-3
    pixels = inside.sum((1, 2, 3))
    draws = Resampler([str(place) for place in range(len(said))])
    wrong = draws.ratio((np.abs(ratio - 1) * inside).sum((1, 2, 3)), pixels)
    close = draws.ratio(((np.maximum(ratio, 1 / ratio) < 1.25) & inside).sum((1, 2, 3)), pixels)
    return {"n": len(said), "abs_rel": wrong.value, "abs_rel_ci95": [wrong.low, wrong.high],
            "within_1.25": close.value, "within_1.25_ci95": [close.low, close.high]}  # fmt: skip


def _record(order: Order, head: Head, learned: Chosen, judged: Chosen, figures: dict[str, dict[str, Any]]) -> Record:
    used = [entry for entry, _ in learned.entries]
    unshippable = sorted({entry.licence for entry in used if not entry.ships})
    why = "" if head.ships else "heads of this kind are for development"
    why = f"learned from data that may not be shipped: {', '.join(unshippable)}" if unshippable else why
    return Record(
        name=order.name,
        output=order.name,
        kind=head.kind,
        labels=head.labels,
        development=bool(why),
        why=why,
        pictures={"train": learned.counts(head.labels), "val": judged.counts(head.labels)},
        views=order.views,
        seed=order.seed,
        datasets=tuple(sorted({entry.dataset for entry in used})),
        licences=tuple(sorted({entry.licence for entry in used})),
        left_out=learned.left_out,
        command=order.command,
        figures=figures,
    )


def _write(order: Order, put_in: dict[str, onnx.ModelProto], record: Record) -> None:
    """The model's folder with the head: everything else is copied, but for what a release said of the model without."""
    if order.out != order.folder:
        ignored = shutil.ignore_patterns(*STALE, *FILES.values())
        shutil.copytree(order.folder, order.out, ignore=ignored, dirs_exist_ok=True)
    (order.out / FOLDER).mkdir(parents=True, exist_ok=True)
    for file, model in put_in.items():
        fresh = order.out / f"{file}.new"
        onnx.save(model, str(fresh))
        fresh.replace(order.out / file)
    described = msgspec.json.format(msgspec.json.encode(record), indent=2)
    (order.out / FOLDER / f"{order.name}.json").write_bytes(described + b"\n")
