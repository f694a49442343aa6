"""Training the student: pictures in memory, one picture-making thread, EMA weights, a checkpoint every epoch.

Everything random is drawn from (seed, epoch, index), so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from calibration.augment import augmented
from calibration.evaluate import overlap
from calibration.losses import segmentation_loss
from calibration.pictures import DatasetError, Sample
from calibration.student import Student, normalised

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Recipe:
    """What a run is made of. `polyp_free`, `phantom`: pictures an epoch, beside every Kvasir-SEG picture once."""

    epochs: int = 40
    batch: int = 12
    side: int = 256
    encoder_rate: float = 3e-4
    decoder_rate: float = 1e-3
    decay: float = 0.02
    ema: float = 0.995
    polyp_free: int = 160
    phantom: int = 0
    frozen: int = 2  # the encoder's first stages keep their ImageNet weights: at strides 2 and 4 they cost the most
    seed: int = 1
    bfloat16: bool = True


@dataclass(frozen=True)
class Sources:
    """The samples a run draws from: all of `polyps` every epoch, random ones of the others."""

    polyps: Sequence[Sample]
    polyp_free: Sequence[Sample] = ()
    phantom: Sequence[Sample] = ()

    def order(self, recipe: Recipe, epoch: int) -> list[Sample]:
        rng = np.random.default_rng((recipe.seed, epoch))
        chosen = list(self.polyps)
        for samples, count in ((self.polyp_free, recipe.polyp_free), (self.phantom, recipe.phantom)):
            if samples and count:
                chosen += [samples[i] for i in rng.integers(0, len(samples), count)]
        return [chosen[i] for i in rng.permutation(len(chosen))]


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to. `dice` is of the EMA weights on the held-out pictures."""

    epoch: int
    loss: float
    dice: float
    seconds: float


def batches(samples: Sequence[Sample], recipe: Recipe, epoch: int, maker: Executor) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented (pictures uint8 (N, 3, S, S), targets (N, 1, S/2, S/2)), made one batch ahead on the maker's thread."""

    def make(start: int) -> tuple[Tensor, Tensor]:
        pictures, targets = [], []
        for index in range(start, start + recipe.batch):
            sample, rng = samples[index], np.random.default_rng((recipe.seed, epoch, index))
            picture, mask = augmented(rng, sample.picture, sample.mask, recipe.side)
            pictures.append(picture)
            targets.append(cv2.resize(mask, (recipe.side // 2,) * 2, interpolation=cv2.INTER_AREA))
        nhwc = torch.from_numpy(np.stack(pictures))
        return nhwc.permute(0, 3, 1, 2), torch.from_numpy(np.stack(targets))[:, None].float() / 255

    starts = range(0, len(samples) - recipe.batch + 1, recipe.batch)
    ahead = maker.submit(make, starts[0])
    for following in [*starts[1:], None]:
        ready = ahead.result()
        if following is not None:
            ahead = maker.submit(make, following)
        yield ready


def _sharing_weights(student: Student) -> Student:
    """A copy whose parameters are the same memory, with gradients and batch statistics of its own."""
    twin = copy.deepcopy(student)
    for mine, theirs in zip(twin.parameters(), student.parameters(), strict=True):
        mine.data = theirs.data
    return twin


class Run:
    """A training run and its folder. Not thread-safe.

    Each of `threads` workers takes its share of a batch through the net on one core, and they meet once a step: where a
    machine is shared, that wastes far less than meeting in every operation, as torch's own threads do.
    """

    def __init__(self, folder: Path, recipe: Recipe, student: Student, sources: Sources, threads: int = 2) -> None:
        if len(sources.polyps) < recipe.batch:
            raise DatasetError(f"{len(sources.polyps)} training pictures, fewer than one batch of {recipe.batch}")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.recipe, self.sources = folder, recipe, sources
        self.student = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for part in (student.encoder.stem, *student.encoder.stages[: recipe.frozen]):
            part.requires_grad_(False)
        self.average = copy.deepcopy(self.student).eval()
        self.workers = [self.student, *(_sharing_weights(self.student) for _ in range(threads - 1))]
        encoder = {id(p) for p in student.encoder.parameters()}
        self.optimiser = torch.optim.AdamW(
            [
                {"params": student.encoder.parameters(), "peak": recipe.encoder_rate},
                {"params": [p for p in student.parameters() if id(p) not in encoder], "peak": recipe.decoder_rate},
            ],
            weight_decay=recipe.decay,
        )
        self.steps = len(sources.order(recipe, 0)) // recipe.batch
        self.done = 0
        if (folder / CHECKPOINT).exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.folder / CHECKPOINT, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise DatasetError(f"{self.folder}: holds a run of another recipe; give --run another folder")
        for worker in self.workers:
            worker.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.done = state["done"]

    def _save(self) -> None:
        """Replace the checkpoint in one step, so a kill leaves the old one or the new one."""
        state = {
            "recipe": asdict(self.recipe),
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
        }
        fresh = self.folder / (CHECKPOINT + ".new")
        torch.save(state, fresh)
        fresh.replace(self.folder / CHECKPOINT)

    def _set_rate(self, step: int) -> None:
        """Linear warm-up over the first 4 %, then a cosine down to 1 % of the peak."""
        total = self.steps * self.recipe.epochs
        warm = max(1, total // 25)
        share = (step + 1) / warm if step < warm else 0.505 + 0.495 * math.cos(math.pi * (step - warm) / (total - warm))
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * share

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the average towards the student; quickly at first, so that it forgets the random start."""
        keep = min(self.recipe.ema, (1 + step) / (10 + step))
        for slow, fast in zip(self.average.state_dict().values(), self.student.state_dict().values(), strict=True):
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - keep)

    def _part(self, worker: Student, pictures: Tensor, targets: Tensor) -> float:
        """Forward and backward of one worker's share; its gradients stay in its own parameters."""
        x = normalised(pictures).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bfloat16):
            logits = worker(x)
        loss = segmentation_loss(logits.float(), targets)
        worker.zero_grad()
        loss.backward()
        return float(loss.detach())

    @torch.no_grad()
    def _gather(self) -> None:
        """Mean gradients and mean batch statistics of all workers, into the student (and the statistics back)."""
        for parameter, *others in zip(*(w.parameters() for w in self.workers), strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(sum(o.grad for o in others)).div_(len(self.workers))
        for buffer, *others in zip(*(w.buffers() for w in self.workers), strict=True):
            if buffer.is_floating_point():
                buffer.add_(sum(others)).div_(len(self.workers))
                for other in others:
                    other.copy_(buffer)

    def _step(self, pictures: Tensor, targets: Tensor, pool: Executor) -> float:
        count = len(self.workers)
        losses = list(pool.map(self._part, self.workers, pictures.chunk(count), targets.chunk(count)))
        self._gather()
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimiser.step()
        return float(np.mean(losses))

    def epochs(self, held_out: Sequence[Sample], progress: Callable[[int, int], None]) -> Iterator[Epoch]:
        """Train what is left of the recipe, one Epoch at a time; `progress(step, steps)` after every batch."""
        torch.set_num_threads(1)
        with ThreadPoolExecutor(1) as maker, ThreadPoolExecutor(len(self.workers)) as pool:
            while self.done < self.recipe.epochs:
                began, losses = time.monotonic(), []
                for worker in self.workers:
                    worker.train()
                for index, batch in enumerate(
                    batches(self.sources.order(self.recipe, self.done), self.recipe, self.done, maker)
                ):
                    step = self.done * self.steps + index
                    self._set_rate(step)
                    losses.append(self._step(*batch, pool))
                    self._follow(step)
                    progress(index + 1, self.steps)
                self.done += 1
                self._save()
                dice = held_out_dice(self.average, held_out, self.recipe.side)
                result = Epoch(self.done, float(np.mean(losses)), dice, time.monotonic() - began)
                with (self.folder / "log.jsonl").open("a") as log:
                    log.write(json.dumps(asdict(result)) + "\n")
                yield result


@torch.no_grad()
def held_out_dice(student: Student, samples: Sequence[Sample], side: int) -> float:
    """Mean Dice over samples, each at its own cached size."""
    scores = []
    for sample in samples:
        picture = cv2.resize(sample.picture, (side, side), interpolation=cv2.INTER_AREA)
        x = normalised(torch.from_numpy(picture).permute(2, 0, 1)[None])
        logits = interpolate(student(x), sample.mask.shape, mode="bilinear", align_corners=False)
        scores.append(overlap(logits[0, 0].numpy() > 0, sample.mask > 0).dice)
    return float(np.mean(scores)) if scores else math.nan


def trained(path: Path) -> Student:
    """The averaged student out of a run's checkpoint."""
    if not path.is_file():
        raise DatasetError(f"{path}: no such checkpoint (train first)")
    student = Student()
    student.load_state_dict(torch.load(path, weights_only=True)["average"])
    return student.eval()
