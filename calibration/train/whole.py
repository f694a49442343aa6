"""One job from its first look at the data to the model's files, and the record of what it was made of and by."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from calibration.train import folder as run_folder
from calibration.train.finish import write_model
from calibration.train.folder import RUN
from calibration.train.job import Job
from calibration.train.preflight import check
from calibration.train.sources import Pool
from calibration.train.stages import train_stage

RECIPE = "recipe.toml"


def make(job: Job, recipe_file: Path, manifest_file: Path) -> Path:
    """Train every stage that is not finished, and write RUN/model/. Returns that folder.

    Raises DatasetError, ModelError before any training for what is wrong with data or recipe, TrainingError later.
    """
    pool = Pool(job.manifest, job.recipe)
    check(job, pool)
    record = _record(job, manifest_file)
    if job.place.first:
        job.folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(recipe_file, job.folder / RECIPE)
    for stage in job.recipe.stages:
        record["stages"][stage.name] = {"seconds": round(train_stage(job, pool, stage), 1)}
        record["seconds"] = round(sum(s["seconds"] for s in record["stages"].values()), 1)
        if job.place.first:
            run_folder.replace(job.folder / RUN, json.dumps(record, indent=1) + "\n")
    if job.place.first:
        write_model(job, pool)
    job.place.wait()
    return job.folder / "model"


def _record(job: Job, manifest_file: Path) -> dict[str, Any]:
    """RUN/run.json. `development`: true for a run that may have seen pictures that must not ship."""
    given = {"manifest": manifest_file, "weights": job.weights}
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
