"""Several of our own nets as one teacher: the mean of their probabilities over input sides and flips.

A net is anything that takes `student.normalised` pictures (N, 3, S, S) to polyp logits (N, 1, s, s): other seeds, wider
decoders, larger inputs. A colonoscope has no upright, so a picture and its mirror images deserve the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibration.pictures import Picture, Sample
from calibration.student import normalised
from calibration.teachers.cache import Cache, digest_of, digest_of_net
from edge.errors import ModelError

STRIDE = 32  # of the nets' coarsest level: sides are its multiples
FLIPS: dict[str, tuple[int, ...]] = {"none": (), "across": (3,), "down": (2,), "both": (2, 3)}  # axes of (N, C, H, W)


class Ensemble:
    """The teacher. The nets are put in eval mode and run where their weights lie. Not thread-safe.

    Raises ModelError without nets, sides or flips, for a side that is no multiple of 32, and for a flip not in FLIPS.
    """

    def __init__(
        self, nets: Sequence[nn.Module], sides: Sequence[int] = (256,), flips: Sequence[str] = tuple(FLIPS)
    ) -> None:
        if not (nets and sides and flips):
            raise ModelError(f"ensemble of {len(nets)} nets, {len(sides)} sides, {len(flips)} flips: each needs one")
        for side in sides:
            if side < STRIDE or side % STRIDE:
                raise ModelError(f"ensemble: input side {side}, expected a multiple of {STRIDE}")
        for flip in flips:
            if flip not in FLIPS:
                raise ModelError(f"ensemble: flip {flip!r}, expected one of {', '.join(FLIPS)}")
        self.nets = [net.eval() for net in nets]
        self.sides, self.flips = tuple(sides), tuple(flips)

    def digest(self) -> str:
        """sha256 of everything that decides an answer, but the picture."""
        settings = f"sides {self.sides} flips {self.flips}"
        return digest_of(settings, *(digest_of_net(net) for net in self.nets))

    def probability(self, picture: Picture) -> NDArray[np.float32]:
        """RGB uint8 (H, W, 3) to the polyp's probability, float32 (H, W)."""
        height, width = picture.shape[:2]
        total = np.zeros((height, width), np.float32)
        for side in self.sides:
            small = self._probability_at(picture, side)
            total += cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(total / len(self.sides), np.float32)

    def logits(self, picture: Picture) -> NDArray[np.float32]:
        """Log odds of `probability`, float32 (H, W): above 0 is polyp, as a model's own logits are read."""
        p = np.clip(self.probability(picture), 1e-6, 1 - 1e-6)
        return np.asarray(np.log(p / (1 - p)), np.float32)

    @torch.inference_mode()
    def _probability_at(self, picture: Picture, side: int) -> NDArray[np.float32]:
        """Mean over nets and flips at one input side, on the nets' own grid."""
        shrinks = side < min(picture.shape[:2])
        small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        x = normalised(torch.from_numpy(small).permute(2, 0, 1)[None])
        views = torch.cat([x.flip(FLIPS[flip]) for flip in self.flips])
        answers = [self._undone(net(views.to(next(net.parameters()).device)).sigmoid()) for net in self.nets]
        return np.asarray(torch.stack(answers).mean(0).numpy(), np.float32)

    def _undone(self, probabilities: Tensor) -> Tensor:
        """One view a flip (F, 1, s, s), each turned back; their mean (s, s) on the CPU in float32."""
        turned = [probabilities[i : i + 1].flip(FLIPS[flip]) for i, flip in enumerate(self.flips)]
        return torch.cat(turned).float().mean(0)[0].cpu()


def soft_masks(
    nets: Sequence[nn.Module],
    samples: Sequence[Sample],
    sides: Sequence[int],
    flips: Sequence[str],
    cache: Path,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[NDArray[np.uint8]]:
    """The ensemble's probability x 255, uint8 (H, W), for every sample at its own size.

    What was asked before is read from `cache`, by digest of the nets, the sides, the flips and the picture's pixels;
    `progress(done, samples)` after every picture. Raises ModelError as Ensemble does.
    """
    teacher, kept = Ensemble(nets, sides, flips), Cache(cache)
    digest = teacher.digest()
    masks = []
    for index, sample in enumerate(samples):
        key = digest_of(digest, sample.picture)
        mask = kept.get(key)
        if mask is None:
            mask = np.rint(teacher.probability(sample.picture) * 255).astype(np.uint8)
            kept.put(key, mask)
        masks.append(np.asarray(mask, np.uint8))
        progress(index + 1, len(samples))
    return masks
