"""Making a TensorRT engine from a released ONNX, and hearing what TensorRT says meanwhile.

`trt` is the module `tensorrt`, handed in by `edge/infer/tensorrt.py`, which alone imports it. Classes that TensorRT
calls back are made here, because their bases exist only with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from edge.errors import InferenceError
from edge.types import Model

LOG_LINES = 8  # of an error: the first is the cause, the rest follows from it


class Progress(NamedTuple):
    """How far a build is: `done` of `total` steps of its outermost phase."""

    phase: str
    done: int
    total: int


class Built(NamedTuple):
    plan: bytes
    timing_cache: bytes
    seconds: float


def new_log(trt: Any) -> Any:
    """An ILogger that keeps errors until `take()` asks for them. TensorRT calls it from any of its threads."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 wants its own initialiser called by name
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(msg.strip())

        def take(self) -> str:
            """What went wrong since the last time, on one line."""
            said, self.errors = self.errors, []
            return "; ".join(said[:LOG_LINES]) or "TensorRT said nothing"

    return Log()


def new_monitor(trt: Any, progress: Callable[[Progress], bool]) -> Any:
    """An IProgressMonitor that tells `progress` of the outermost phases; the build stops when that answers False."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}  # outermost phases alone: those within tell little and change by the second

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self.steps[phase_name] = num_steps
                progress(Progress(phase_name, 0, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            total = self.steps.get(phase_name)
            return progress(Progress(phase_name, min(step + 1, total), total)) if total else True

        def phase_finish(self, phase_name: str) -> None:
            total = self.steps.pop(phase_name, None)
            if total is not None:
                progress(Progress(phase_name, total, total))

    return Monitor()


def new_profile(trt: Any) -> Any:
    """An IProfiler that adds up each layer's milliseconds in `times`, by name, in the order of the engine."""

    class Profile(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times[layer_name] = self.times.get(layer_name, 0.0) + ms

    return Profile()


def build(
    trt: Any, model: Model, workspace_bytes: int, timing_cache: bytes, progress: Callable[[Progress], bool]
) -> Built:
    """Minutes on a Jetson. Precision is in the graph (Q/DQ, casts): the network is strongly typed, no flag is set.

    `timing_cache`: what an earlier build on this GPU measured, or b"". Raises InferenceError with TensorRT's own text.
    """
    begun = time.monotonic()
    log = new_log(trt)
    try:
        builder = trt.Builder(log)
    except TypeError as exc:  # what pybind11 makes of a null pointer: no GPU, or libraries of another version
        raise InferenceError(f"TensorRT cannot start a build here: {log.take()}") from exc
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model.content):
        faults = [_parser_fault(parser.get_error(i)) for i in range(parser.num_errors)]
        raise InferenceError(f"{model.path}: TensorRT cannot read it: {'; '.join(faults) or log.take()}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or no audit could say what runs in INT8
    cancelled = False

    def watched(step: Progress) -> bool:
        nonlocal cancelled
        cancelled = cancelled or not progress(step)
        return not cancelled

    monitor = new_monitor(trt, watched)  # a name of its own: TensorRT does not keep it alive
    config.progress_monitor = monitor
    _use_timing_cache(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        reason = "cancelled" if cancelled else log.take()
        raise InferenceError(f"{model.path}: TensorRT built no engine: {reason}")
    return Built(bytes(plan), bytes(config.get_timing_cache().serialize()), time.monotonic() - begun)


def _use_timing_cache(config: Any, content: bytes) -> None:
    """An older one when it is of this GPU and TensorRT, an empty one otherwise: timings then are taken again."""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _parser_fault(error: Any) -> str:
    return f"node {error.node()} ({error.node_operator()} {error.node_name()}): {error.desc()}"
