"""A recipe's stages, one after the other, each in its folder; those that are finished are passed over."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from calibration import encoders
from calibration.pictures import Picture
from calibration.recipe import FOLDER, WEIGHTS, AnyStage, DistilEncoder, Segment
from calibration.student import Student, normalised
from calibration.teachers import transformer
from calibration.teachers.ensemble import soft_masks
from calibration.train.beside import Kept, TaskLoss, Teacher
from calibration.train.folder import StageFolder, read_checkpoint
from calibration.train.job import Job, trained
from calibration.train.loop import Run, Sources, held_out_dice
from calibration.train.objectives import Features, Objective, Segmentation
from calibration.train.sources import Pool

STRIDE_16 = 3  # of an encoder's levels, the one whose grid is nearest to a transformer's patches


def train_stage(job: Job, pool: Pool, stage: AnyStage) -> float:
    """Train what is left of one stage; the seconds all of its epochs took."""
    identity = {**job.identity(stage, pool.digest()), "from": job.ancestry(stage)}
    folder = StageFolder(job.stage_folder(stage.name), identity)
    finished = folder.finished(stage.epochs)
    if finished is not None:
        job.watch.say(f"stage {stage.name}: trained already")
        return finished
    torch.manual_seed(stage.seed)
    sources = pool.sources(stage, job.watch.progress)
    objective: Objective
    if isinstance(stage, Segment):
        student = _student(job, stage)
        objective = Segmentation(student, stage.distil, _beside(job, stage, student, sources))
        sources = _with_soft_masks(job, stage, sources)
    else:
        objective = _features(job, stage)
    run = Run(folder, stage, objective, sources, job.place)
    score = _score(job, pool, stage, run)
    step = lambda done, steps: job.watch.progress(f"{stage.name} {run.done + 1}/{stage.epochs}", done, steps)  # noqa: E731
    for epoch in run.epochs(score, step):
        job.watch.epoch(stage, epoch)
    return sum(epoch.seconds for epoch in run.log)


def _score(job: Job, pool: Pool, stage: AnyStage, run: Run) -> Callable[[], float]:
    """Held-out Dice of the averaged student; an encoder alone has none."""
    if not (isinstance(stage, Segment) and job.place.first):
        return lambda: math.nan
    held_out = pool.samples("held_out", job.watch.progress)
    return lambda: held_out_dice(cast(Student, run.average), held_out, stage.side)


def _student(job: Job, stage: Segment) -> Student:
    """The net a stage starts as. An earlier stage's decoder of other widths cannot be taken over."""
    given = job.weights if stage.start == WEIGHTS else None
    student = Student(encoders.open(job.recipe.encoder_of(stage), given), stage.widths)
    if stage.start == WEIGHTS:
        return student
    if isinstance(job.recipe.stage(stage.start), DistilEncoder):
        student.encoder.load_state_dict(read_checkpoint(job.checkpoint(stage.start))["average"])
    else:
        earlier = trained(job.checkpoint(stage.start))
        if earlier.widths == student.widths:
            student.load_state_dict(earlier.state_dict())
            return student
        student.encoder.load_state_dict(earlier.encoder.state_dict())
    job.watch.say(f"stage {stage.name}: encoder of {stage.start}, a fresh decoder of widths {stage.widths}")
    return student


def _beside(job: Job, stage: Segment, student: Student, sources: Sources) -> list[tuple[nn.Module, float]]:
    """What else the student's encoder learns, and how much it counts."""
    channels = cast(Sequence[int], student.encoder.channels)
    losses: list[tuple[nn.Module, float]] = []
    if sources.tasks:
        losses.append((TaskLoss(sources.tasks, channels), stage.tasks_weight))
    if stage.features_of:
        encoder = job.recipe.encoder_of(stage)
        losses.append((Kept(*_teacher(job, stage, stage.features_of, encoder, channels)), stage.features_weight))
    return losses


def _features(job: Job, stage: DistilEncoder) -> Features:
    """A fresh encoder and its teacher."""
    name = job.recipe.encoder_of(stage)
    encoder = encoders.open(name)
    channels = cast(Sequence[int], encoder.channels)
    teacher, _, widths, pairs = _teacher(job, stage, stage.teacher, name, channels)
    return Features(encoder, teacher, widths, pairs)


def _teacher(
    job: Job, stage: AnyStage, name: str, encoder: str, channels: Sequence[int]
) -> tuple[Teacher, Sequence[int], Sequence[int], list[tuple[int, int]]]:
    """The folder's one map, or level for level what the given weights or an earlier stage's encoder say.

    The arguments of Kept: the teacher, the student's channels, the teacher's, and which level learns from which map.
    """
    place = job.place

    def reduced() -> torch.autocast:
        return torch.autocast(place.device.type, place.autocast, enabled=stage.mixed)

    if name == FOLDER:
        assert job.teacher is not None  # the preflight has seen to it
        cache = job.folder / "features" if isinstance(stage, DistilEncoder) and stage.views else None
        transform, turn = transformer.open(job.teacher, cache=cache, device=str(place.device)), threading.Lock()

        def patches(pictures: Tensor) -> list[Tensor]:
            with turn, reduced():  # workers share the one teacher
                return [transform.features(pictures)]

        return patches, channels, [transform.channels], [(STRIDE_16, 0)]
    given = encoders.open(encoder, job.weights) if name == WEIGHTS else trained(job.checkpoint(name)).encoder
    elder = given.eval().to(place.device)

    def levels(pictures: Tensor) -> list[Tensor]:
        with reduced():
            return cast(list[Tensor], elder(normalised(pictures).contiguous(memory_format=torch.channels_last)))

    widths = cast(Sequence[int], elder.channels)
    first = 0 if isinstance(stage, DistilEncoder) else 1  # no head reads the finest
    return levels, channels, widths, [(level, level) for level in range(first, len(widths))]


def _with_soft_masks(job: Job, stage: Segment, sources: Sources) -> Sources:
    """What the teachers say of every polyp picture, asked once. That a picture shows none, and where the phantom's
    polyps are, needs no opinion."""
    if not stage.teachers:
        return sources
    nets = [trained(job.checkpoint(name)).to(job.place.device) for name in stage.teachers]
    asked = f"{stage.name}: asking the teachers"
    masks: list[Picture] = []
    for turn in (True, False):  # the first process asks, the others then find the answers on disk
        if job.place.first == turn:
            masks = soft_masks(
                nets,
                sources.polyps,
                stage.sides,
                stage.flips,
                job.folder / "soft",
                lambda done, count: job.watch.progress(asked, done, count),
            )
        job.place.wait()
    polyps = [replace(sample, soft=mask) for sample, mask in zip(sources.polyps, masks, strict=True)]
    return replace(sources, polyps=polyps)
