"""`__cuda_array_interface__` on pitched frames: what its readers find is the host's picture, to the bit.

The frames are those of `edge/memory/cuda.py`, from GStreamer's own CUDA memory, in a size whose rows fill no pitch.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Any

import numpy as np

from edge.memory import cuda, gpu
from edge.memory.mapper import installed
from tools.gpu_bench import Options
from tools.on_device import frames
from tools.on_device.frames import Pixels, Reader

SIZE, COUNT = (250, 130), 60  # rows of 1000 bytes
CHAIN = "cudaupload ! video/x-raw(memory:CUDAMemory),format=RGBA"


def run(options: Options) -> dict[str, Any]:  # noqa: ARG001
    """By reader: how many frames were the same, rounded, stale, torn or wrong, and the first that was not right."""
    return {name: _read_by(read) for name, read in readers().items()}


def _read_by(read: Reader) -> dict[str, Any]:
    with closing(cuda.open()) as mapper:
        seen = frames.through(mapper, CHAIN, "CUDA memory", SIZE, COUNT, read)
    return {**seen.kinds, "first_bad": seen.first_bad, "pitches": sorted(seen.pitches), "n": seen.kinds.total()}


def readers() -> dict[str, Reader]:
    """Who takes the interface at its word. CuPy is the one that is not ours, where it is installed."""
    ours: dict[str, Reader] = {"rows and gaps, cut on the host": frames.to_host, "rows packed on the GPU": packed}
    return ours | ({"CuPy": by_cupy} if installed("cupy") else {})


def packed(image: Any) -> Pixels:
    """As a backend packs a pitched frame before its engine reads it."""
    interface = image.__cuda_array_interface__
    (height, width, depth), (place, pitch) = interface["shape"], frames.where(image)
    pixels = np.empty((height, width, depth), np.uint8)
    with ExitStack() as stack:
        stream = stack.enter_context(closing(gpu.Stream()))
        landing = stack.enter_context(closing(gpu.Linear(pixels.nbytes)))
        gpu.copy_rows(landing.pointer, place, pitch, width * depth, height, stream)
        gpu.copy_to_host(pixels, landing.pointer, stream)
        stream.synchronize()
    return pixels


def by_cupy(image: Any) -> Pixels:
    import cupy

    return np.asarray(cupy.asnumpy(cupy.asarray(image)))
