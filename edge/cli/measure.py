"""The benchmark's measurements. Ratios are taken in one run, alternating, because machines drift."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ulid import ULID

from edge import core, status
from edge.capture import file as file_source
from edge.cli import assemble
from edge.config import PipelineConfig
from edge.decide.config import RulesConfig
from edge.decide.rules import Rules
from edge.infer import onnx
from edge.ledger import Ledger
from edge.messages import Event
from edge.outbox import Outbox, OutboxReader
from edge.timing import Stages, settle
from edge.types import Backend, Findings, Gap, Model

KEPT_FRAMES = 64  # pictures held in memory for the bare runs: 16 MiB at 256x256
OUTBOX_BYTES = 64 * 2**20

Images = list[npt.NDArray[np.uint8]]
Tick = Callable[[int], None]


class Job(NamedTuple):
    """What a run of the whole path needs."""

    clip: Path
    pipeline: PipelineConfig
    rules: RulesConfig
    model: Model
    threads: int


class Whole(NamedTuple):
    frame_ms: list[float]  # per frame, of each round
    bare_ms: list[float]  # per frame, of the round beside it
    stages: Stages
    python_ms: npt.NDArray[np.float64]  # our own share, of the last frames
    rss: list[tuple[int, int]]  # (frames so far, bytes)
    frames: int
    copies: status.CopyStatus


def processor_ticks() -> tuple[int, int]:
    """(stolen, all) clock ticks of all processors since boot; stolen ones a hypervisor gave to other guests."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[7], sum(ticks)


def images_of(clip: Path, size: tuple[int, int]) -> Images:
    """Up to KEPT_FRAMES pictures of a clip, as the model gets them, spread over it."""
    source = file_source.open(file_source.Config(path=str(clip), rate="max"), size)
    step = max(1, source.expected_frames // KEPT_FRAMES)
    images: Images = []
    seen = 0
    try:
        while len(images) < KEPT_FRAMES:
            frame = source.next(1.0)
            if isinstance(frame, Gap):
                if frame.final:
                    break
                continue
            if seen % step == 0:
                images.append(np.array(frame.image))
            frame.release()
            seen += 1
    finally:
        source.close()
    return images


def bare_ms(backend: Backend, images: Images, frames: int) -> float:
    """Milliseconds a frame of the session alone."""
    begun = time.perf_counter()
    for number in range(frames):
        backend.infer(images[number % len(images)])
    return (time.perf_counter() - begun) * 1e3 / frames


def speedup(fast: Backend, slow: Backend, images: Images, rounds: int = 7) -> tuple[float, float, float]:
    """(slow / fast, fast ms, slow ms): medians over alternating rounds."""
    pairs = [(bare_ms(fast, images, len(images)), bare_ms(slow, images, len(images))) for _ in range(rounds)]
    fast_ms, slow_ms = (float(np.median(side)) for side in zip(*pairs, strict=True))
    return float(np.median([slow_side / fast_side for fast_side, slow_side in pairs])), fast_ms, slow_ms


def whole(job: Job, images: Images, folder: Path, frames: int, round_frames: int, tick: Tick) -> Whole:
    """`frames` frames through the whole path at full rate, in rounds, each beside a bare round as long.

    The clip loops; events are committed to a real outbox in `folder`, which is emptied after each round as an uplink
    would.
    """
    backend = onnx.open(onnx.Config(threads=job.threads), job.model)
    heads = assemble.fit_heads(job.pipeline, job.rules, job.model.manifest)
    source = file_source.open(file_source.Config(path=str(job.clip), rate="max", loop=True), job.model.size)
    outbox_file = folder / "bench-outbox.db"
    ledger = Ledger(lambda: Outbox.open(outbox_file, "bench", OUTBOX_BYTES))
    rules = Rules(job.rules, run_id=str(ULID()))
    stages = Stages(core.STAGES)
    counter = _Counter()
    settle()
    result = Whole([], [], stages, np.zeros(0), [], 0, status.CopyStatus())
    try:
        while counter.frames < frames:
            goal = min(frames, counter.frames + round_frames)
            before, begun = counter.frames, time.perf_counter()
            counter.goal = goal
            core.run(source, backend, heads, rules, ledger, stages, counter, stop=counter.reached)
            result.frame_ms.append((time.perf_counter() - begun) * 1e3 / (counter.frames - before))
            result.rss.append((counter.frames, status.rss_bytes()))
            result.bare_ms.append(bare_ms(backend, images, min(round_frames, 2 * len(images))))
            _empty(outbox_file)
            tick(counter.frames)
        copies = status.copies(source.stats(), backend)
    finally:
        source.close()
        backend.close()
        ledger.close()
    laps = [stages.recent_ns(name) for name in core.PYTHON_STAGES]
    shortest = min(len(lap) for lap in laps)
    python_ms = np.sum([lap[:shortest] for lap in laps], axis=0) / 1e6
    return result._replace(python_ms=python_ms, frames=counter.frames, copies=copies)


class _Counter:
    def __init__(self) -> None:
        self.frames = self.goal = 0

    def reached(self) -> bool:
        return self.frames >= self.goal

    def __call__(self, moment: Gap | Findings, _events: Sequence[Event]) -> None:
        self.frames += isinstance(moment, Findings)


def rss_growth(samples: Sequence[tuple[int, int]], settled_at: int) -> float:
    """Last resident size over the first one at or after `settled_at` frames, minus 1."""
    settled = next((size for frames, size in samples if frames >= settled_at), samples[-1][1])
    return samples[-1][1] / settled - 1


def _empty(outbox_file: Path) -> None:
    reader = OutboxReader.open(outbox_file)
    while rows := reader.pending(1000):
        reader.delete([row.seq for row in rows])
    reader.close()
