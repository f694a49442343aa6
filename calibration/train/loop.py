"""One stage's training: pictures made ahead, workers that meet once a step, averaged weights, a checkpoint an epoch.

Everything random is drawn from (seed, epoch, index), so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import copy
import math
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from calibration import augment
from calibration.eval.overlap import overlap
from calibration.pictures import DatasetError, Picture, Sample
from calibration.recipe import DistilEncoder, Segment, Stage
from calibration.student import Student, normalised
from calibration.train.beside import NO_ANSWER, Task
from calibration.train.distribute import CPU, Place
from calibration.train.folder import Epoch, StageFolder
from calibration.train.objectives import Objective
from edge.errors import EdgeError

Batch = tuple[Tensor, ...]  # pictures, targets, answers
View = tuple[Picture, Picture, tuple[int, ...]]
GPU_MAKERS = 8  # threads that make pictures for a GPU, which is faster than one of them
LARGEST_GRADIENT = 5.0


class TrainingError(EdgeError):
    """Training went wrong in a way that going on cannot mend."""


@dataclass(frozen=True)
class Sources:
    """The samples a stage draws from: all of `polyps` every epoch, random ones of the others; and the stage's tasks."""

    polyps: Sequence[Sample]
    polyp_free: Sequence[Sample] = ()
    phantom: Sequence[Sample] = ()
    tasks: Sequence[Task] = ()

    def order(self, stage: Stage, epoch: int) -> list[Sample]:
        rng = np.random.default_rng((stage.seed, epoch))
        chosen = list(self.polyps)
        for samples, count in ((self.polyp_free, stage.polyp_free), (self.phantom, stage.phantom)):
            if samples and count:
                chosen += [samples[i] for i in rng.integers(0, len(samples), count)]
        return [chosen[i] for i in rng.permutation(len(chosen))]


def _pair(sample: Sample) -> augment.Pair:
    return sample.picture, np.dstack([sample.mask, sample.mask if sample.soft is None else sample.soft])


NOTHING = Sources(())


def view(sample: Sample, stage: Stage, epoch: int, index: int, sources: Sources = NOTHING) -> View:
    """The sample as the net sees it this time: picture uint8 (S, S, 3), targets uint8 (S/2, S/2, 2), true and soft,
    and its answers to the tasks.

    Where no teacher was asked, the soft mask is the true one. `index`: the sample's place in the epoch's order;
    `sources`: whose polyps may be grafted, and whose content the tasks may put into a picture.
    """
    views = stage.views if isinstance(stage, DistilEncoder) else 0
    turn = (epoch % views, zlib.crc32(sample.name.encode())) if views else (epoch, index)
    rng = np.random.default_rng((stage.seed, *turn))
    segment = stage if isinstance(stage, Segment) else None
    calm = segment is not None and epoch >= stage.epochs - segment.calm_epochs
    donor, donors = None, sources.polyps
    if segment and donors and segment.graft and not calm and rng.random() < segment.graft:
        donor = _pair(donors[int(rng.integers(0, len(donors)))])
    picture, masks = _pair(sample)
    answers = sample.answers if sources.tasks and sample.answers else (NO_ANSWER,) * len(sources.tasks)
    for task in sources.tasks:
        picture, answers = task.mixed(rng, picture, answers)
    strength = augment.CALM if calm else augment.WILD
    picture, masks = augment.augmented(rng, picture, masks, stage.side, strength, donor)
    halved = cv2.resize(masks, (stage.side // 2,) * 2, interpolation=cv2.INTER_AREA)
    return picture, np.asarray(halved, np.uint8), answers


def batches(
    samples: Sequence[Sample],
    sources: Sources,
    stage: Stage,
    epoch: int,
    maker: Executor,
    place: Place,
    ahead: int = 1,
) -> Iterator[Batch]:
    """This process's share of every batch: (pictures uint8 (N, 3, S, S), targets uint8 (N, 2, S/2, S/2), answers
    int64 (N, T)).

    `ahead` batches are being made on the maker's threads while one is used.
    """
    share = stage.batch // place.world

    def make(start: int) -> Batch:
        views = [view(samples[i], stage, epoch, i, sources) for i in range(start, start + share)]
        pictures, targets, answers = zip(*views, strict=True)
        stacked = (torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2) for part in (pictures, targets))
        return *stacked, torch.tensor(answers, dtype=torch.int64).view(share, len(sources.tasks))

    waiting: deque[Future[Batch]] = deque()
    for start in range(0, len(samples) - stage.batch + 1, stage.batch):
        waiting.append(maker.submit(make, start + place.rank * share))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _sharing_weights(objective: Objective) -> Objective:
    """A copy whose parameters are the same memory, with gradients and batch statistics of its own."""
    twin = copy.deepcopy(objective)
    for mine, theirs in zip(twin.parameters(), objective.parameters(), strict=True):
        mine.data = theirs.data
    return twin


class Run:
    """One stage's run and its folder. Not thread-safe.

    On a CPU each of `place.threads` workers takes its share of a batch through the net on one core, and they meet once
    a step: where a machine is shared, that wastes far less than meeting in every operation, as torch's own threads do.
    Raises DatasetError when there are fewer pictures than a batch, or the batch cannot be shared equally.
    """

    def __init__(
        self, folder: StageFolder, stage: Stage, objective: Objective, sources: Sources, place: Place | None = None
    ) -> None:
        self.folder, self.stage, self.sources = folder, stage, sources
        self.place = place = place or Place()
        check_shares(stage, len(sources.polyps), place)
        objective.precision = place.autocast if stage.mixed else None
        self.objective = objective.to(place.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        encoder = objective.encoder()
        for part in objective.frozen(stage.frozen):
            part.requires_grad_(False)
        self.average = copy.deepcopy(objective.net).eval()
        self.workers = [objective, *(_sharing_weights(objective) for _ in range(place.threads - 1))]
        rates = ((encoder.parameters(), stage.encoder_rate), (objective.others(), stage.decoder_rate))
        self.optimiser = torch.optim.AdamW(
            [{"params": list(parameters), "peak": rate} for parameters, rate in rates], weight_decay=stage.decay
        )
        half = objective.precision == torch.float16
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=half)
        self.steps = len(sources.order(stage, 0)) // stage.batch
        self.log: list[Epoch] = []
        self._resume()
        self.entrances = [place.shared(worker) for worker in self.workers]

    @property
    def done(self) -> int:
        """Epochs trained."""
        return len(self.log)

    def _resume(self) -> None:
        state = self.folder.checkpoint()
        if state is None:
            return
        try:
            for worker in self.workers:
                worker.load_state_dict(state["objective"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.scaler.load_state_dict(state["scaler"])
        except (KeyError, RuntimeError, ValueError) as exc:
            raise DatasetError(f"{self.folder.path}: its checkpoint is of another net: {exc}") from exc
        self.log = [Epoch(**epoch) for epoch in state["log"]]

    def _save(self) -> None:
        if self.place.first:
            state = {
                "objective": self.objective.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
            }
            self.folder.save(state, self.log)
        self.place.wait()

    def _set_rate(self, step: int) -> None:
        """Linear warm-up over the first 4 %, then a cosine down to 1 % of the peak."""
        total = self.steps * self.stage.epochs
        warm = max(1, total // 25)
        share = (step + 1) / warm if step < warm else 0.505 + 0.495 * math.cos(math.pi * (step - warm) / (total - warm))
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * share

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the average towards the net; quickly at first, so that it forgets the random start."""
        keep = min(self.stage.ema, (1 + step) / (10 + step))
        net = self.objective.net.state_dict()
        for slow, fast in zip(self.average.state_dict().values(), net.values(), strict=True):
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - keep)

    def _part(self, entrance: nn.Module, *batch: Tensor) -> float:
        """Forward and backward of one worker's share; its gradients stay in its own parameters."""
        loss = entrance(*(part.to(self.place.device) for part in batch))
        entrance.zero_grad()
        self.scaler.scale(loss).backward()
        return float(loss.detach())

    @torch.no_grad()
    def _gather(self) -> None:
        """Mean gradients and mean batch statistics of all workers, into the objective (and the statistics back)."""
        count = len(self.workers)
        for parameter, *others in zip(*(w.parameters() for w in self.workers), strict=True):
            if parameter.grad is not None and others:
                parameter.grad.add_(sum(o.grad for o in others)).div_(count)
        for buffer, *others in zip(*(w.buffers() for w in self.workers), strict=True):
            if buffer.is_floating_point():
                buffer.add_(sum(others)).div_(count)
                self.place.mean_([buffer])
                for other in others:
                    other.copy_(buffer)

    def _step(self, batch: Batch, pool: Executor) -> float:
        """One batch; its loss over all processes. The weights stay as they are where that is no finite number."""
        count = len(self.workers)
        losses = list(pool.map(self._part, self.entrances, *(part.chunk(count) for part in batch)))
        loss = torch.tensor(losses, dtype=torch.float64).mean().to(self.place.device)
        self.place.mean_([loss])
        if not torch.isfinite(loss):
            return float(loss)
        self._gather()
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.objective.parameters(), LARGEST_GRADIENT)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return float(loss)

    def _epoch(self, maker: Executor, pool: Executor, progress: Callable[[int, int], None]) -> float:
        """One pass over the epoch's order; its mean loss. Raises TrainingError at a loss that is no finite number."""
        order, losses = self.sources.order(self.stage, self.done), []
        for worker in self.workers:
            worker.train()
            for part in worker.frozen(self.stage.frozen):
                part.eval()
        made = batches(order, self.sources, self.stage, self.done, maker, self.place, self._ahead)
        for index, batch in enumerate(made):
            step = self.done * self.steps + index
            self._set_rate(step)
            losses.append(self._step(batch, pool))
            if not math.isfinite(losses[-1]):
                names = [s.name for s in order[index * self.stage.batch : (index + 1) * self.stage.batch]]
                raise TrainingError(
                    f"stage {self.stage.name}: the loss is {losses[-1]} in epoch {self.done + 1}, step {index + 1}, "
                    f"on {', '.join(names)}; the last checkpoint is as it was"
                )
            self._follow(step)
            progress(index + 1, self.steps)
        return float(np.mean(losses))

    @property
    def _ahead(self) -> int:
        return 1 if self.place.device == CPU else GPU_MAKERS

    def epochs(self, score: Callable[[], float], progress: Callable[[int, int], None]) -> Iterator[Epoch]:
        """Train what is left of the stage, one Epoch at a time. `score()` after every epoch, in the first process;
        `progress(step, steps)` after every batch."""
        with ThreadPoolExecutor(self._ahead) as maker, ThreadPoolExecutor(len(self.workers)) as pool:
            while self.done < self.stage.epochs:
                began = time.monotonic()
                loss = self._epoch(maker, pool, progress)
                dice = score() if self.place.first else math.nan
                self.log.append(Epoch(self.done + 1, loss, dice, time.monotonic() - began))
                self._save()
                yield self.log[-1]


def check_shares(stage: Stage, polyps: int, place: Place) -> None:
    """Raises DatasetError unless there are pictures for a batch, and it can be cut equally."""
    if polyps < stage.batch:
        raise DatasetError(f"stage {stage.name}: {polyps} training pictures, fewer than one batch of {stage.batch}")
    if stage.batch % place.shares:
        raise DatasetError(f"stage {stage.name}: a batch of {stage.batch} cannot be cut in {place.shares} equal parts")


@torch.no_grad()
def held_out_dice(student: Student, samples: Sequence[Sample], side: int) -> float:
    """Mean Dice over samples, each at its own cached size."""
    device = next(student.parameters()).device
    scores = []
    for sample in samples:
        picture = cv2.resize(sample.picture, (side, side), interpolation=cv2.INTER_AREA)
        x = normalised(torch.from_numpy(picture).permute(2, 0, 1)[None]).to(device)
        logits = interpolate(student(x), sample.mask.shape, mode="bilinear", align_corners=False)
        scores.append(overlap(logits[0, 0].cpu().numpy() > 0, sample.mask > 0).dice)
    return float(np.mean(scores)) if scores else math.nan
