"""What an encoder learns beside polyps, so that it stays of use to heads: their tasks, and another encoder's features.

Both read the encoder's levels and are thrown away with the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from calibration.features import pooled
from calibration.heads import Head
from calibration.learn import Array, balance
from calibration.losses import FeatureLoss
from calibration.pictures import Picture, Sample

Teacher = Callable[[Tensor], Sequence[Tensor]]  # uint8 (N, 3, S, S) to feature maps (N, C, h, w)
NO_ANSWER = -1
MIXED = 0.5  # share of views that another picture's content is put into, of pictures it fits: half, as `of` counts
FLOOR = 1e-8  # below a feature's variance
FOLLOW = 0.02  # how fast the features' running mean and variance follow


@dataclass(frozen=True)
class Task:
    """A head's question, asked while the encoder trains. `place`: of its answer in a sample's `answers`."""

    head: Head
    place: int
    weights: Array  # (K,) one a class, so that all count the same
    donors: Sequence[Sample] = field(default=(), repr=False)  # whose content may be put into another picture

    @classmethod
    def of(cls, head: Head, place: int, samples: Sequence[Sample]) -> Task:
        """The task as these samples pose it."""
        answers = np.array([s.answers[place] for s in samples if s.answers[place] != NO_ANSWER], np.intp)
        if head.mix is None:
            return cls(head, place, balance(head, answers))
        into, of = (head.labels.index(label) for label in (head.mix.into, head.mix.of))
        mixed = np.where(answers == into, of, answers)  # what half of them turn into
        donors = [s for s in samples if s.answers[place] == of]
        return cls(head, place, balance(head, np.concatenate([answers, mixed])), donors)

    def mixed(self, rng: Generator, picture: Picture, answers: tuple[int, ...]) -> tuple[Picture, tuple[int, ...]]:
        """The picture and its answers, or both with a donor's content in it."""
        mix = self.head.mix
        if mix is None or not self.donors or answers[self.place] != self.head.labels.index(mix.into):
            return picture, answers
        if rng.random() >= MIXED:
            return picture, answers
        made = mix.make(rng, picture, self.donors[int(rng.integers(len(self.donors)))].picture)
        if made is None:
            return picture, answers
        label = self.head.labels.index(mix.of)
        return made, (*answers[: self.place], label, *answers[self.place + 1 :])


class TaskLoss(nn.Module):
    """Cross-entropy of linear answers on `features`, standardised as they come; mean over the tasks.

    `forward(levels, pictures, answers int64 (N, T))`; a picture without an answer counts nothing.
    """

    def __init__(self, tasks: Sequence[Task], channels: Sequence[int]) -> None:
        super().__init__()
        width = 5 * sum(channels[1:])
        self.places = [task.place for task in tasks]
        self.answers = nn.ModuleList(nn.Linear(width, task.head.outputs) for task in tasks)
        for index, task in enumerate(tasks):
            self.register_buffer(f"weights{index}", torch.from_numpy(task.weights))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("square", torch.ones(width))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, levels: Sequence[Tensor], _pictures: Tensor, answers: Tensor) -> Tensor:
        features = self._standardised(pooled([level.float() for level in levels], FLOOR))
        losses = []
        for index, (place, answer) in enumerate(zip(self.places, self.answers, strict=True)):
            wanted = answers[:, place]
            weights = self.get_buffer(f"weights{index}")
            each = cross_entropy(answer(features), wanted, weights, reduction="none", ignore_index=NO_ANSWER,
                                 label_smoothing=0.05)  # fmt: skip
            losses.append(each.sum() / (wanted != NO_ANSWER).sum().clamp_min(1))
        return torch.stack(losses).mean()

    def _standardised(self, features: Tensor) -> Tensor:
        """By running figures, quick at first: a worker's few pictures say too little."""
        mean, square, seen = self.get_buffer("mean"), self.get_buffer("square"), self.get_buffer("seen")
        if self.training:
            with torch.no_grad():
                seen += 1
                follow = max(FOLLOW, 1 / float(seen))
                mean.lerp_(features.mean(0), follow)
                square.lerp_(features.square().mean(0), follow)
        return (features - mean) * (square - mean.square()).clamp_min(FLOOR).rsqrt()


class Kept(nn.Module):
    """How far an encoder's levels are from a teacher's maps: `pairs` of (level, map), their losses' mean.

    The teacher is no part of the module: it is neither trained nor saved.
    """

    def __init__(
        self, teacher: Teacher, channels: Sequence[int], widths: Sequence[int], pairs: Sequence[tuple[int, int]]
    ) -> None:
        super().__init__()
        self.teacher, self.pairs = teacher, tuple(pairs)
        self.losses = nn.ModuleList(FeatureLoss(channels[level], widths[index]) for level, index in pairs)

    def forward(self, levels: Sequence[Tensor], pictures: Tensor, _answers: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            wanted = self.teacher(pictures)
        apart = [
            cast(Tensor, loss(levels[level].float(), wanted[index].float()))
            for loss, (level, index) in zip(self.losses, self.pairs, strict=True)
        ]
        return torch.stack(apart).mean()
