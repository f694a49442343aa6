"""What a stage makes small: a net with its loss, as one module, so that any worker can take pictures to a number.

`forward(pictures uint8 (N, 3, S, S), targets uint8 (N, M, S/2, S/2)) -> scalar`. `net` is what the stage is for: it is
averaged and kept, the rest is scaffolding. Convolutions run under `torch.autocast`, losses in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter

from calibration.losses import FeatureLoss, distillation_loss, segmentation_loss
from calibration.student import Student, normalised

Teacher = Callable[[Tensor], Sequence[Tensor]]  # uint8 (N, 3, S, S) to feature maps (N, C, h, w)


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
    """A student against true masks (channel 0 of the targets), and soft ones (channel 1) where `distil` is above 0."""

    def __init__(self, student: Student, distil: float = 0.0) -> None:
        super().__init__()
        self.net = student
        self.distil = distil

    def encoder(self) -> nn.Module:
        return cast(nn.Module, self.net.encoder)

    def frozen(self, stages: int) -> list[nn.Module]:
        """The encoder's stem, always, and its first stages: at strides 2 and 4 they cost the most to train."""
        encoder = self.encoder()
        return [cast(nn.Module, encoder.stem), *list(cast(nn.ModuleList, encoder.stages))[:stages]]

    def forward(self, pictures: Tensor, targets: Tensor) -> Tensor:
        x = normalised(pictures).contiguous(memory_format=torch.channels_last)
        with self.cast(x.device):
            logits = self.net(x)
        logits, shares = logits.float(), targets.float() / 255
        loss = segmentation_loss(logits, shares[:, :1])
        if self.distil:
            loss = (1 - self.distil) * loss + self.distil * distillation_loss(logits, shares[:, 1:])
        return loss


class Features(Objective):
    """An encoder against a teacher's feature maps: `pairs` of (level of the encoder, map of the teacher).

    Mean of the pairs' losses. The teacher is no part of the module: it is neither trained nor saved.
    """

    def __init__(
        self, encoder: nn.Module, teacher: Teacher, widths: Sequence[int], pairs: Sequence[tuple[int, int]]
    ) -> None:
        super().__init__()
        self.net = encoder
        self.teacher, self.pairs = teacher, tuple(pairs)
        channels = cast(Sequence[int], encoder.channels)
        self.losses = nn.ModuleList(FeatureLoss(channels[level], widths[index]) for level, index in pairs)

    def encoder(self) -> nn.Module:
        return self.net

    def forward(self, pictures: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        x = normalised(pictures).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), self.cast(x.device):
            wanted = self.teacher(pictures)
        with self.cast(x.device):
            levels = self.net(x)
        apart = [
            loss(levels[level].float(), wanted[index].float())
            for loss, (level, index) in zip(self.losses, self.pairs, strict=True)
        ]
        return torch.stack(apart).mean()
