"""One job from its first look at the data to the trained student's FP32 file, and the record of how it was made."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import onnx

from calibration import manifest
from calibration.export import exported
from calibration.halves import halved, rounded
from calibration.train import folder as run_folder
from calibration.train.folder import MANIFEST, MODEL, RECIPE, RUN
from calibration.train.job import Job, trained
from calibration.train.preflight import check
from calibration.train.sources import Pool
from calibration.train.stages import train_stage


def make(job: Job, recipe_file: Path) -> None:
    """Train every stage that is not finished; then RUN/model/fp32.onnx, and the manifest of what may calibrate it.

    Raises DatasetError, ModelError before any training for what is wrong with data or recipe, TrainingError later.
    """
    pool = Pool(job.manifest, job.recipe)
    check(job, pool)
    record = _record(job)
    if job.place.first:
        job.folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(recipe_file, job.folder / RECIPE)
    for stage in job.recipe.stages:
        record["stages"][stage.name] = {"seconds": round(train_stage(job, pool, stage), 1)}
        record["seconds"] = round(sum(s["seconds"] for s in record["stages"].values()), 1)
        if job.place.first:
            run_folder.replace(job.folder / RUN, json.dumps(record, indent=1) + "\n")
    if job.place.first:
        _write_fp32(job)
        _write_manifest(job, pool)


def _record(job: Job) -> dict[str, Any]:
    """RUN/run.json. `development`: true for a run that may have seen pictures that must not ship."""
    given = {"manifest": job.manifest.path, "weights": job.weights}
    return {
        "recipe": job.recipe.name,
        "development": job.recipe.development,
        "revision": run_folder.revision(),
        "versions": run_folder.versions(),
        "device": job.place.name(),
        "processes": job.place.world,
        "threads": job.place.threads,
        "sha256": {n: hashlib.sha256(path.read_bytes()).hexdigest() for n, path in given.items() if path},
        "stages": {},
        "seconds": 0.0,
    }


def _write_fp32(job: Job) -> None:
    """RUN/model/, made new. Weights are float16 numbers from here on: this file is what all else is made from."""
    folder = job.folder / MODEL
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    fp32 = rounded(exported(trained(job.checkpoint(job.recipe.student.name)), job.recipe.side))
    onnx.save(halved(fp32), str(folder / "fp32.onnx"))


def _write_manifest(job: Job, pool: Pool) -> None:
    """RUN/calibrate.jsonl: the training pictures that the recipe may use, for `quantize`, with absolute roots."""
    entries = (*pool.polyps, *pool.polyp_free)
    roots = {entry.dataset: job.manifest.root(entry).resolve() for entry in entries}
    layouts = {root.dataset: root.layout for root in job.manifest.header.roots}
    path = job.folder / MANIFEST
    path.unlink(missing_ok=True)
    named = [manifest.Root(dataset=name, layout=layouts[name], path=str(root)) for name, root in roots.items()]
    manifest.write(path, named, list({(e.dataset, e.path): e for e in entries}.values()))
