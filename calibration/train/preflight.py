"""Everything a recipe needs, looked at before hours are spent: one clear error instead of a traceback at night."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from calibration import encoders, heads
from calibration.examples import chosen
from calibration.manifest import Entry
from calibration.pictures import DatasetError
from calibration.recipe import FOLDER, WEIGHTS, Segment
from calibration.teachers import transformer
from calibration.train.folder import StageFolder
from calibration.train.job import Job
from calibration.train.loop import check_shares
from calibration.train.sources import Pool, answered
from edge.errors import ModelError


def check(job: Job, pool: Pool) -> None:
    """Raises ModelError or DatasetError for the first thing that is missing, damaged or at odds with the recipe."""
    _check_given(job)
    _check_amounts(job, pool)
    _check_sizes(pool)
    for name in job.recipe.heads.names:
        for split in ("train", "val"):
            chosen(job.manifest, name, heads.named(name), split, job.recipe.development)
    for stage in job.recipe.stages:
        StageFolder(job.stage_folder(stage.name), job.identity(stage, pool.digest())).checkpoint()


def _check_given(job: Job) -> None:
    """The files and folders that the command line names: there, and what the recipe takes them for."""
    for stage in job.recipe.stages:
        wanted = (stage.start, stage.features_of) if isinstance(stage, Segment) else (stage.teacher,)
        if WEIGHTS in wanted:
            if job.weights is None:
                raise ModelError(f"stage {stage.name} starts from given weights, but none are given (--weights FILE)")
            encoders.open(job.recipe.encoder_of(stage), job.weights)
        if FOLDER in wanted:
            if job.teacher is None:
                raise ModelError(f"stage {stage.name} learns from a folder, but none is given (--teacher FOLDER)")
            transformer.open(job.teacher)


def _check_amounts(job: Job, pool: Pool) -> None:
    recipe = job.recipe
    some = "that may be used" if recipe.development else "that may ship"
    for stage in recipe.stages:
        check_shares(stage, len(pool.polyps), job.place)
        if isinstance(stage, Segment):
            answered(pool.polyp_free, stage.tasks)
        if stage.polyp_free and not pool.polyp_free:
            raise DatasetError(f"stage {stage.name} wants polyp-free pictures, but the manifest has none {some}")
    if len(pool.polyps) < recipe.quantize.pictures:
        raise DatasetError(
            f"quantize wants {recipe.quantize.pictures} pictures to calibrate on, "
            f"but the manifest has {len(pool.polyps)} training pictures {some}"
        )


def _check_sizes(pool: Pool) -> None:
    """Headers only: a thousand pictures take a second."""
    for entry in _once((*pool.polyps, *pool.polyp_free, *pool.held_out)):
        root = pool.manifest.root(entry)
        width, height = _size(root / entry.path)
        if entry.mask and _size(root / entry.mask) != (width, height):
            mw, mh = _size(root / entry.mask)
            raise DatasetError(f"{root / entry.mask}: mask is {mw}×{mh}, its picture {entry.path} is {width}×{height}")


def _once(entries: Iterable[Entry]) -> Iterable[Entry]:
    return {(entry.dataset, entry.path): entry for entry in entries}.values()


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            return picture.size
    except FileNotFoundError as exc:
        raise DatasetError(f"{path}: no such file, though the manifest names it") from exc
    except (OSError, UnidentifiedImageError) as exc:
        raise DatasetError(f"{path}: cannot be decoded as a picture") from exc
