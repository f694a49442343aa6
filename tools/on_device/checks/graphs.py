"""CUDA graphs with rotating buffers: one graph a buffer, and each gives what plain enqueueing gave."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from edge.types import Backend
from tools.on_device import Context, Result, failed, frames, passed, released, site

TITLE = "CUDA graphs over rotating buffers"
LIMIT_S = 300.0
BUFFERS, ROUNDS = 8, 40
PLAIN = 1  # rounds that are enqueued; the next captures, all others are replayed
Answers = Mapping[str, np.ndarray[Any, Any]]


class Rotation(NamedTuple):
    """`differences`: "buffer 3, round 5: polyp"; times are the medians of one inference, in milliseconds."""

    differences: list[str]
    plain_ms: float
    replayed_ms: float


def run(context: Context) -> Result:
    """With the engine that the check before this one built."""
    context.need_jetson("a Jetson's GPU and TensorRT")
    from edge.infer import tensorrt

    config = tensorrt.Config(cache_dir=str(site.ENGINES))
    model = released(context, tensorrt.precision(config))
    heard = Heard()
    logging.getLogger("edge.memory.gpu").addHandler(heard)
    with closing(tensorrt.open(config, model)) as backend:
        return judge(over_buffers(backend, model.size), heard.lines)


def over_buffers(backend: Backend, size: tuple[int, int]) -> Rotation:
    """As many pictures of noise in the GPU's memory, each where a frame of the pool would lie. The backend's device
    must be current in this thread."""
    with frames.on_gpu(noise(size)) as images:
        return rotate(backend.infer, images)


def noise(size: tuple[int, int]) -> frames.Pixels:
    """Pictures that are all different, the same each time: (BUFFERS, H, W, 4)."""
    width, height = size
    return np.random.default_rng(1).integers(0, 256, (BUFFERS, height, width, 4), np.uint8)


class Heard(logging.Handler):
    """Warnings, as lines: a graph that could not be captured is said there."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def rotate(infer: Callable[[Any], Answers], images: Sequence[Any]) -> Rotation:
    """Every image in turn, ROUNDS times over; what the first round said is the truth."""
    truth: list[dict[str, np.ndarray[Any, Any]]] = []
    differences: list[str] = []
    times: list[list[float]] = []
    for number in range(ROUNDS):
        times.append([])
        for place, image in enumerate(images):
            begun = time.perf_counter()
            answers = infer(image)
            times[-1].append((time.perf_counter() - begun) * 1e3)
            if number == 0:
                truth.append({name: answer.copy() for name, answer in answers.items()})
                continue
            wrong = [name for name, answer in answers.items() if not np.array_equal(answer, truth[place][name])]
            differences += [f"buffer {place}, round {number}: {name}" for name in wrong]
    replayed = np.concatenate([np.array(each) for each in times[PLAIN + 1 :]])
    return Rotation(differences, float(np.median(times[0])), float(np.median(replayed)))


def judge(seen: Rotation, warnings: Sequence[str]) -> Result:
    figures = {"plain ms": round(seen.plain_ms, 4), "graph ms": round(seen.replayed_ms, 4)}
    if warnings:
        return failed(f"no graph: {warnings[0]}", **figures)
    if seen.differences:
        return failed(f"{len(seen.differences)} answers differ, first {seen.differences[0]}", **figures)
    return passed(f"{BUFFERS} buffers, {ROUNDS} rounds, all answers the same to the bit", **figures)
