"""The engine alone, its input and outputs bound, run after run; and what its GPU says of itself."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.memory import gpu
from edge.types import Backend
from tools.gpu_bench import Options, open_backend, released
from tools.on_device import frames
from tools.on_device.checks import graphs

COPY_BYTES, COPIES, ROUNDS = 256 * 2**20, 8, 7


def run(options: Options) -> dict[str, Any]:
    """`differences`: answers of rotating buffers that were not those of the first round."""
    with ExitStack() as stack:
        device = stack.enter_context(closing(gpu.Device.open()))
        facts = facts_of(device)
        loaded = released(options)
        backend = stack.enter_context(closing(open_backend(options, loaded)))
        images = stack.enter_context(frames.on_gpu(graphs.noise(loaded.size)))
        rotation = graphs.rotate(backend.infer, images)  # and by then everything is warm, and recorded
        times = timed(backend, images, options.runs)
        facts["copy_bytes_s"] = copy_bandwidth()
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "gpu": facts,
        "bare": {"p50_ms": float(p50), "p99_ms": float(p99), "n": len(times)},
        "differences": rotation.differences,
        "model": {"path": loaded.path, "sha256": loaded.sha256, "precision": loaded.precision},
    }


def timed(backend: Backend, images: list[Any], runs: int) -> npt.NDArray[np.float64]:
    """Milliseconds of each run, from the call to the answer on the host, over images in turn."""
    stamps = np.empty(runs + 1)
    stamps[0] = time.perf_counter()
    for number in range(runs):
        backend.infer(images[number % len(images)])
        stamps[number + 1] = time.perf_counter()
    return np.diff(stamps) * 1e3


def facts_of(device: gpu.Device) -> dict[str, Any]:
    """What the driver says. `clock_hz`: the highest of its multiprocessors; 0 where it says nothing."""
    attributes = gpu.driver().CUdevice_attribute
    handle = gpu.call("cuDeviceGet", device.index)

    def ask(name: str) -> int:
        return int(gpu.call("cuDeviceGetAttribute", getattr(attributes, f"CU_DEVICE_ATTRIBUTE_{name}"), handle))

    return {
        "name": device.name,
        "memory_bytes": device.memory_bytes,
        "compute_capability": list(device.compute_capability),
        "cuda_of_driver": int(gpu.call("cuDriverGetVersion")),
        "multiprocessors": ask("MULTIPROCESSOR_COUNT"),
        "clock_hz": ask("CLOCK_RATE") * 1000,
        "l2_bytes": ask("L2_CACHE_SIZE"),
    }


def copy_bandwidth() -> float:
    """Bytes a second, read and written together, of copies within the GPU's memory that no cache holds. The median."""
    rows, row_bytes = COPY_BYTES // 2**16, 2**16
    with ExitStack() as stack:
        stream = stack.enter_context(closing(gpu.Stream()))
        there, back = (stack.enter_context(closing(gpu.Linear(COPY_BYTES))) for _ in range(2))
        seconds = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            for _ in range(COPIES):
                gpu.copy_rows(there.pointer, back.pointer, row_bytes, row_bytes, rows, stream)
            stream.synchronize()
            seconds.append(time.perf_counter() - begun)
    return 2 * COPY_BYTES * COPIES / float(np.median(seconds))
