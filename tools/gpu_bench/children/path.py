"""One stream, whole: the clip at its own pace → CUDA memory → engine → heads → rules, by the core's own loop.

It says "ready" when everything is open, and begins when it is told to (a line on its standard input), so that several
streams run side by side.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any, cast

import numpy as np
from ulid import ULID

from edge import core
from edge.capture import file as file_source
from edge.cli import assemble
from edge.decide.rules import Rules
from edge.errors import CaptureError
from edge.heads import Heads
from edge.ledger import InMemory, Ledger
from edge.messages import Event
from edge.timing import Stages, settle
from edge.types import Backend, Findings, Frame, Gap, SignalState, SourceStats
from tools.gpu_bench import READS, Options, open_backend, pipeline_file, released

WARM_S = 3.0  # until clocks are up and every buffer of the pool was seen
READY = "ready"
OURS = ("capture", "infer", "heads")  # the stages between a frame and its findings: [p50, p99] of each


class Watched:
    """A source, heads and report in one, that stamp each frame: when it lay whole in memory, and when it was findings.

    Waiting for a frame is the feed's time; mapping and blackening it are ours.
    """

    def __init__(self, source: file_source.FileSource, heads: Heads) -> None:
        self._source, self._heads = source, heads
        self._came_ns = 0
        self.waited_ns = 0
        self.taken_ms: list[float] = []
        self.broken = ""

    def next(self, timeout_s: float) -> Frame | Gap:
        begun_ns = time.perf_counter_ns()
        frame = self._source.next(timeout_s)
        self.waited_ns = self._source.waited_ns
        self._came_ns = begun_ns + self.waited_ns
        return frame

    def decode(self, outputs: Any, frame: Frame) -> Findings:
        findings = self._heads.decode(outputs, frame)
        self.taken_ms.append((time.perf_counter_ns() - self._came_ns) / 1e6)
        return findings

    def report(self, moment: Gap | Findings, events: Sequence[Event]) -> None:  # noqa: ARG002
        if isinstance(moment, Gap) and moment.state is SignalState.FAILED:
            self.broken = moment.detail

    def stats(self) -> SourceStats:
        return self._source.stats()

    def close(self) -> None:
        self._source.close()


def run(options: Options) -> dict[str, Any]:
    """Raises CaptureError when frames do not lie in CUDA memory, or the clip breaks."""
    pipeline, rules = assemble.load_pipeline(pipeline_file(options))
    loaded = released(options)
    heads = assemble.fit_heads(pipeline, rules, loaded.manifest)
    with ExitStack() as stack:
        backend = stack.enter_context(closing(open_backend(options, loaded)))
        clip = file_source.Config(path=options.clip, loop=True)
        watched = Watched(stack.enter_context(closing(file_source.open(clip, loaded.size, READS))), heads)
        memory = watched.stats().memory
        if memory != "cuda":
            raise CaptureError(f"frames would lie in {memory} memory: profile x86-cuda was not taken")
        print(READY, flush=True)
        sys.stdin.readline()
        settle()

        def loop(seconds: float) -> Stages:
            until, judge, stages = time.monotonic() + seconds, Rules(rules, run_id=str(ULID())), Stages(core.STAGES)
            asked, ledger = cast(Heads, watched), Ledger(InMemory)
            core.run(watched, backend, asked, judge, ledger, stages, watched.report, lambda: time.monotonic() > until)
            if watched.broken:
                raise CaptureError(watched.broken)
            return stages

        loop(WARM_S)
        before = counts(watched.stats(), backend)
        watched.taken_ms.clear()
        stages = loop(options.seconds)
        figures = measured(watched.taken_ms, before, counts(watched.stats(), backend), options.seconds)
        return figures | {"stages_ms": {name: stages.percentiles_ms(name) for name in OURS}}


def counts(source: SourceStats, backend: Backend) -> dict[str, int]:
    """Whole pictures so far, by direction; `upload` is the one that every frame needs."""
    return {
        "frames": source.frames,
        "dropped": source.dropped,
        "upload": source.h2d,
        "host": source.host_copies + backend.copies.host,
        "h2d": backend.copies.h2d,
        "d2h": source.d2h,
        "device": backend.copies.device,
    }


def measured(
    taken_ms: Sequence[float], before: dict[str, int], after: dict[str, int], seconds: float
) -> dict[str, Any]:
    """Raises CaptureError when no frame came."""
    if not taken_ms:
        raise CaptureError(f"no frame within {seconds:.0f} s")
    p50, p99 = np.percentile(taken_ms, [50, 99])
    figures = {"p50_ms": float(p50), "p99_ms": float(p99), "max_ms": max(taken_ms), "n": len(taken_ms)}
    counted = {name: after[name] - before[name] for name in after}
    return {**figures, **counted, "fed_fps": (counted["frames"] + counted["dropped"]) / seconds}
