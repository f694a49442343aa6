"""What a net is trained to make small. Every loss is a scalar; against hard targets 0 means perfect.

Shapes are N pictures, C channels, h x w cells, K classes. Nothing here knows which head or teacher it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    binary_cross_entropy_with_logits,
    cosine_similarity,
    interpolate,
    layer_norm,
    smooth_l1_loss,
)

from calibration.pictures import DatasetError
from edge.errors import ModelError


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy, heavier along the polyp's edge, plus soft Dice of the pictures that have a polyp.

    Both (N, 1, h, w); the target is the polyp's share of each cell, or a teacher's probability there, 0..1. Dice is
    linear, so a soft target is not its least (a surer answer costs less): a student so taught beat one taught to
    repeat its teacher (calibration/README.md).
    """
    edge = (avg_pool2d(target, 9, 1, 4) - target).abs()
    weight = 1 + 3 * edge
    entropy = (binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).mean()
    found, area = logits.sigmoid().flatten(1), target.flatten(1)
    dice = (2 * (found * area).sum(1) + 1) / (found.sum(1) + area.sum(1) + 1)
    present = (area.sum(1) > 0).float()
    return entropy + ((1 - dice) * present).sum() / present.sum().clamp_min(1)


class FeatureLoss(nn.Module):
    """How far the student's features are from a teacher's: 1 - cosine, plus smooth L1, through a 1x1 projector.

    (N, student_channels, h, w) against (N, teacher_channels, H, W), which is resized to the student's grid (bilinear).
    Smooth L1 is taken after each cell's channels are brought to mean 0 and deviation 1, on both sides: a transformer's
    few huge channels would drown the others (Wei et al. 2022, "Contrastive learning rivals masked image modeling in
    fine-tuning via feature distillation"). No gradient reaches the teacher; the projector is thrown away afterwards.

    Raises ModelError when either side is not as wide as was promised.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.student_channels, self.teacher_channels = student_channels, teacher_channels
        self.projector = nn.Conv2d(student_channels, teacher_channels, 1)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        _check_width("student", student, self.student_channels)
        _check_width("teacher", teacher, self.teacher_channels)
        wanted = teacher.detach().float()
        if wanted.shape[2:] != student.shape[2:]:
            wanted = interpolate(wanted, student.shape[2:], mode="bilinear", align_corners=False)
        got = cast(Tensor, self.projector(student)).float()
        apart = 1 - cosine_similarity(got, wanted, dim=1).mean()
        return apart + smooth_l1_loss(_standardised(got), _standardised(wanted))


def _check_width(side: str, features: Tensor, expected: int) -> None:
    if features.shape[1] != expected:
        raise ModelError(f"feature loss: the {side}'s features have {features.shape[1]} channels, expected {expected}")


def _standardised(features: Tensor) -> Tensor:
    """(N, C, h, w) to (N, h, w, C) with mean 0 and deviation 1 over each cell's channels."""
    return layer_norm(features.permute(0, 2, 3, 1), features.shape[1:2])


def ordinal_loss(logits: Tensor, grades: Tensor) -> Tensor:
    """Cross-entropy of K - 1 yes-or-no questions "is the grade above k?": further off costs more.

    `logits` (N, K - 1), one a threshold; `grades` (N,) whole numbers 0..K - 1. The form of Cao, Mirjalili and Raschka
    2020 ("Rank consistent ordinal regression", CORAL, equation 4, all importances 1); a head whose thresholds share
    their weights and differ in bias alone gives their rank-consistent answers.

    Raises DatasetError for a grade outside the list.
    """
    grades = grades.to(torch.int64)
    thresholds = torch.arange(logits.shape[1], device=logits.device)
    outside = (grades < 0) | (grades > len(thresholds))
    if bool(outside.any()):
        raise DatasetError(f"grade {int(grades[outside][0])}, expected one of 0..{len(thresholds)}")
    above = (grades[:, None] > thresholds).float()
    return binary_cross_entropy_with_logits(logits.float(), above, reduction="none").sum(1).mean()


def grade_probabilities(logits: Tensor) -> Tensor:
    """(N, K - 1) threshold logits of `ordinal_loss` to the probability of each grade, (N, K), rows summing to 1.

    Where a head answers "above 2" more surely than "above 1", the surer answer to the lower question stands.
    """
    above = logits.float().sigmoid().flip(1).cummax(1).values.flip(1)
    ones, zeros = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
    return torch.cat([ones, above], 1) - torch.cat([above, zeros], 1)


class Fixed(nn.Module):
    """A weighted sum of named losses. Raises ModelError when the names are not those of the weights."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = dict(weights)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        _check_names(losses, self.weights)
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()


class Uncertainty(nn.Module):
    """Learned weights instead: the sum of L exp(-s) + s / 2 over named losses L, each with its own log variance s.

    Kendall, Gal and Cipolla 2018 ("Multi-task learning using uncertainty to weigh losses", section 3.2): the noisier a
    task, the less it counts. Left alone, s settles at log 2L. Give `parameters()` to the optimiser, without weight
    decay. The one loss here that may be negative. Raises ModelError as Fixed does.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.log_variance = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in names})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        _check_names(losses, self.log_variance)
        pairs = [(loss, self.log_variance[name]) for name, loss in losses.items()]
        return torch.stack([loss * (-s).exp() + s / 2 for loss, s in pairs]).sum()

    def weights(self) -> dict[str, float]:
        """What each loss counts at this moment."""
        return {name: float((-s.detach()).exp()) for name, s in self.log_variance.items()}


def _check_names(losses: Mapping[str, Tensor], weights: Mapping[str, object] | nn.ParameterDict) -> None:
    if set(losses) != set(weights.keys()):
        raise ModelError(f"losses {', '.join(sorted(losses))}, but weights for {', '.join(sorted(weights.keys()))}")
