"""What a stage makes small: a net with its loss, as one module, so that any worker can take pictures to a number.

`forward(pictures uint8 (N, 3, S, S), targets uint8 (N, M, S/2, S/2), answers int64 (N, T)) -> scalar`. `net` is what
the stage is for: it is averaged and kept, the rest is scaffolding. Convolutions run under `torch.autocast`, losses in
float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter

from calibration.losses import segmentation_loss
from calibration.student import Student, normalised
from calibration.train.beside import Kept, Teacher


class Objective(nn.Module):
    """The base: which part is kept, which is the encoder, and the precision its net runs in."""

    net: nn.Module
    precision: torch.dtype | None = None  # of autocast; None: float32 throughout

    def encoder(self) -> nn.Module:
        raise NotImplementedError

    def frozen(self, stages: int) -> list[nn.Module]:  # noqa: ARG002
        """The parts whose weights and statistics stay as they are: none, unless an objective says so."""
        return []

    def others(self) -> Iterator[Parameter]:
        """Every parameter outside the encoder."""
        encoder = {id(p) for p in self.encoder().parameters()}
        return (p for p in self.parameters() if id(p) not in encoder)

    def cast(self, device: torch.device) -> AbstractContextManager[Any]:
        return torch.autocast(device.type, self.precision) if self.precision else nullcontext()


class Segmentation(Objective):
    """A student against true masks (channel 0 of the targets), and soft ones (channel 1) where `distil` is above 0.

    `beside`: what else its encoder learns, losses of `(levels, pictures, answers)`, each with its weight.
    """

    def __init__(self, student: Student, distil: float = 0.0, beside: Sequence[tuple[nn.Module, float]] = ()) -> None:
        super().__init__()
        self.net = student
        self.distil = distil
        self.beside = nn.ModuleList(loss for loss, _ in beside)
        self.weights = [weight for _, weight in beside]

    def encoder(self) -> nn.Module:
        return cast(nn.Module, self.net.encoder)

    def frozen(self, stages: int) -> list[nn.Module]:
        """The encoder's stem, always, and its first stages: at strides 2 and 4 they cost the most to train."""
        encoder = self.encoder()
        return [cast(nn.Module, encoder.stem), *list(cast(nn.ModuleList, encoder.stages))[:stages]]

    def forward(self, pictures: Tensor, targets: Tensor, answers: Tensor) -> Tensor:
        student = cast(Student, self.net)
        x = normalised(pictures).contiguous(memory_format=torch.channels_last)
        with self.cast(x.device):
            levels = student.encoder(x)
            logits = student.polyp(student.decoded(levels))
        logits, shares = logits.float(), targets.float() / 255
        loss = segmentation_loss(logits, shares[:, :1])
        if self.distil:
            loss = (1 - self.distil) * loss + self.distil * segmentation_loss(logits, shares[:, 1:])
        for weight, aside in zip(self.weights, self.beside, strict=True):
            loss = loss + weight * aside(levels, pictures, answers)
        return loss


class Features(Objective):
    """An encoder against a teacher's feature maps: `pairs` of (level of the encoder, map of the teacher)."""

    def __init__(
        self, encoder: nn.Module, teacher: Teacher, widths: Sequence[int], pairs: Sequence[tuple[int, int]]
    ) -> None:
        super().__init__()
        self.net = encoder
        self.kept = Kept(teacher, cast(Sequence[int], encoder.channels), widths, pairs)

    def encoder(self) -> nn.Module:
        return self.net

    def forward(self, pictures: Tensor, targets: Tensor, answers: Tensor) -> Tensor:  # noqa: ARG002
        x = normalised(pictures).contiguous(memory_format=torch.channels_last)
        with self.cast(x.device):
            levels = self.net(x)
        return cast(Tensor, self.kept(levels, pictures))
